cmake_minimum_required(VERSION 3.22)
# Writes commit.cpp, anew only when the commit has changed: cmake -D SOURCE=... -D OUTPUT=... -P write_commit.cmake
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=* WORKING_DIRECTORY "${SOURCE}"
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT
  "#include \"ci/commit.h\"\n\nnamespace ringproof {\nconst char* built_commit() { return \"@commit@\"; }\n}\n" @ONLY)
