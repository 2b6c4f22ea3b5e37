# One target per folder; these functions give every target the same rules.

# Rules every piece of C++ here is compiled under. No contraction: a fused multiply-add nobody wrote changes results.
add_library(ringproof_rules INTERFACE)
target_compile_features(ringproof_rules INTERFACE cxx_std_20)
target_include_directories(ringproof_rules INTERFACE "${CMAKE_SOURCE_DIR}")
# -Wno-restrict: g++ 12 warns falsely inside std::string.
target_compile_options(ringproof_rules INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-missing-field-initializers -Wno-restrict -ffp-contract=off>)

# ringproof_find_sources(<folder>): its .cpp files into <folder>_sources, those of tests into <folder>_tests. The next
# build finds a new file by itself.
function(ringproof_find_sources folder)
  file(GLOB sources RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" CONFIGURE_DEPENDS "${folder}/*.cpp")
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set(${folder}_sources ${sources} PARENT_SCOPE)
  set(${folder}_tests ${tests} PARENT_SCOPE)
endfunction()

# ringproof_add_library(<folder name> SOURCES ... LINKS ...): target ringproof_<name>, alias ringproof::<name>.
function(ringproof_add_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS")
  add_library(ringproof_${name} STATIC ${arg_SOURCES})
  add_library(ringproof::${name} ALIAS ringproof_${name})
  target_link_libraries(ringproof_${name} PUBLIC ringproof_rules ${arg_LINKS})
endfunction()

# ringproof_add_tests(<folder name> SOURCES ... LINKS ... [LABELS ...]): one GoogleTest executable, its tests in CTest.
function(ringproof_add_tests name)
  if(NOT RINGPROOF_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS;LABELS")
  if(NOT arg_LABELS)
    set(arg_LABELS cpu)
  endif()
  add_executable(ringproof_${name}_tests ${arg_SOURCES})
  target_link_libraries(ringproof_${name}_tests PRIVATE ${arg_LINKS} GTest::gtest_main)
  include(GoogleTest)
  gtest_discover_tests(ringproof_${name}_tests TEST_PREFIX "${name}." NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 600)
endfunction()

# ringproof_add_benchmarks(<folder name> SOURCES ... LINKS ...): one Google Benchmark executable, where it is found.
function(ringproof_add_benchmarks name)
  if(NOT benchmark_FOUND)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS")
  add_executable(ringproof_${name}_bench EXCLUDE_FROM_ALL ${arg_SOURCES})
  target_link_libraries(ringproof_${name}_bench PRIVATE ${arg_LINKS} benchmark::benchmark_main)
endfunction()

# ringproof_add_python_test(<name> <script> [LABEL cpu] [ARGS ...]): a unittest script run by the build's Python.
function(ringproof_add_python_test name script)
  if(NOT RINGPROOF_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "LABEL" "ARGS;ENVIRONMENT")
  if(NOT arg_LABEL)
    set(arg_LABEL cpu)
  endif()
  add_test(NAME ${name} COMMAND "${RINGPROOF_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/${script}" ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT 1800 ENVIRONMENT
    "RINGPROOF_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};RINGPROOF_PYTHON=${RINGPROOF_PYTHON};${arg_ENVIRONMENT}")
endfunction()
