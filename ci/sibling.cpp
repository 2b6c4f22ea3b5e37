#include "ci/sibling.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "reference/spec/error.h"

namespace ringproof {

void become_sibling(const char* name, char** arguments) {
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  execv(path.c_str(), arguments);
  throw Error(path.string() + " cannot be started (" + std::strerror(errno) + "); build and install both executables");
}

}  // namespace ringproof
