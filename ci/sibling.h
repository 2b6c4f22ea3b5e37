#pragma once

namespace ringproof {

/// Becomes the executable `name` that stands beside this one, with these arguments (argv[0] first, null last); does not
/// return. Throws Error when it is not there.
[[noreturn]] void become_sibling(const char* name, char** arguments);

/// Becomes a Python script of ci/perf with these arguments (argv[0] first, null last), run by $RINGPROOF_PYTHON or the
/// Python of the build; does not return. Throws Error when either is not there.
[[noreturn]] void become_perf_script(const char* name, char** arguments);

}  // namespace ringproof
