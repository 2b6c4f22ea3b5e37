#pragma once

namespace ringproof {

/// Becomes the executable `name` that stands beside this one, with these arguments (argv[0] first, null last); does not
/// return. Throws Error when it is not there.
[[noreturn]] void become_sibling(const char* name, char** arguments);

}  // namespace ringproof
