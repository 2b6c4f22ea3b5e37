# `cmake --install` leaves bin/ringproof and the data it reads.
include(GNUInstallDirs)
install(TARGETS ringproof RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY golden/data/real DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof/data)
install(DIRECTORY ci/cases DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
