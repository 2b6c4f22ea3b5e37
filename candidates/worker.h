#pragma once

#include <string>

namespace ringproof {

/// Serves the kernel `name` (the path of a plug-in, or `cmd:` and a command) at descriptor 3 until the other end closes
/// it: the child side of candidates/protocol.md. Throws InputError where there is no such socket.
void serve_worker(const std::string& name);

}  // namespace ringproof
