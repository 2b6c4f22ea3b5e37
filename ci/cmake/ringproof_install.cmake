# `cmake --install` leaves bin/ringproof, what it becomes for a sub-command, and the data it reads.
include(GNUInstallDirs)
install(TARGETS ringproof RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET ringproof_racecheck_bin)
  install(TARGETS ringproof_racecheck_bin RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY golden/data/real DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof/data)
install(DIRECTORY ci/cases DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
# What `ci/gpu.sh --carry` takes to a machine with a GPU.
if(RINGPROOF_WITH_CUDA)
  install(TARGETS ringproof_gpu_conformance ringproof_cuda_bench RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(PROGRAMS ci/gpu.sh DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
  install(FILES ci/gpu.py ci/gpu_sdpa.py DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
endif()
