#pragma once

#include <string>

namespace ringproof {

/// Creates the folder and checks that files can be written into it. Throws InputError naming it.
void require_writable(const std::string& folder);

/// Writes the file whole or not at all. Throws Error naming it.
void write_whole(const std::string& path, const std::string& text);

}  // namespace ringproof
