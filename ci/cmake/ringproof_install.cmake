# `cmake --install` leaves bin/ringproof, what it becomes for a sub-command, and the data it reads.
include(GNUInstallDirs)
if(SKBUILD)  # pip: into the virtual environment itself, beside its python
  set(CMAKE_INSTALL_BINDIR "${SKBUILD_SCRIPTS_DIR}")
  set(CMAKE_INSTALL_DATADIR "${SKBUILD_DATA_DIR}/share")
  set(CMAKE_INSTALL_INCLUDEDIR "${SKBUILD_DATA_DIR}/include")
endif()
install(TARGETS ringproof RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET ringproof_racecheck_bin)
  install(TARGETS ringproof_racecheck_bin RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY golden/data/real DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof/data)
install(DIRECTORY ci/perf DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof FILES_MATCHING PATTERN "*.py"
  PATTERN "*_test.py" EXCLUDE)
install(DIRECTORY ci/cases DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
# What plug-ins are built against: find_package(ringproof), target ringproof::candidate_abi; and where to start from.
install(FILES candidates/candidate_abi.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ringproof)
install(DIRECTORY candidates/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof PATTERN __pycache__ EXCLUDE)
if(NOT SKBUILD)
  include(CMakePackageConfigHelpers)
  set(package "${CMAKE_INSTALL_LIBDIR}/cmake/ringproof")
  install(TARGETS ringproof_candidate_abi EXPORT ringproof)
  install(EXPORT ringproof NAMESPACE ringproof:: FILE ringproof-config.cmake DESTINATION "${package}")
  write_basic_package_version_file("${CMAKE_BINARY_DIR}/ringproof-config-version.cmake" ARCH_INDEPENDENT
    COMPATIBILITY SameMinorVersion)
  install(FILES "${CMAKE_BINARY_DIR}/ringproof-config-version.cmake" DESTINATION "${package}")
endif()
# What `ci/gpu.sh --carry` takes to a machine with a GPU.
if(RINGPROOF_WITH_CUDA)
  install(TARGETS ringproof_gpu_conformance ringproof_cuda_bench RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  # cuDNN wants CUDA's runtime as a library, which a machine with only the driver lacks.
  set(cudart "libcudart.so.${CUDAToolkit_VERSION_MAJOR}")
  file(REAL_PATH "${CUDAToolkit_LIBRARY_DIR}/${cudart}" cudart_file)
  install(FILES "${cudart_file}" DESTINATION lib RENAME "${cudart}" OPTIONAL)
  install(PROGRAMS ci/gpu.sh DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
  install(FILES ci/gpu.py ci/gpu_ranks.py ci/gpu_sdpa.py DESTINATION ${CMAKE_INSTALL_DATADIR}/ringproof)
endif()
