#include "ci/sibling.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {

void become_sibling(const char* name, char** arguments) {
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  execv(path.c_str(), arguments);
  throw Error(path.string() + " cannot be started (" + std::strerror(errno) + "); build and install both executables");
}

void become_perf_script(const char* name, char** arguments) {
  namespace fs = std::filesystem;
  const fs::path installed = fs::read_symlink("/proc/self/exe").parent_path() / "../share/ringproof/perf";
  const fs::path script = (fs::exists(installed) ? installed : fs::path(RINGPROOF_SOURCE_PERF)) / name;
  if (!fs::exists(script)) throw Error(script.string() + " is missing; install Ringproof again");
  const char* const chosen = std::getenv("RINGPROOF_PYTHON");
  const std::string python = chosen != nullptr && *chosen != 0    ? chosen
                             : fs::exists(RINGPROOF_BUILD_PYTHON) ? RINGPROOF_BUILD_PYTHON
                                                                  : "python3";
  std::string path = script.string();
  std::vector<char*> words{const_cast<char*>(python.c_str()), path.data()};
  for (char** word = arguments + 1; *word != nullptr; ++word) words.push_back(*word);
  words.push_back(nullptr);
  execvp(python.c_str(), words.data());
  throw Error("'" + python + "' cannot be started (" + std::strerror(errno) +
              "); set RINGPROOF_PYTHON to a Python with SciPy");
}

}  // namespace ringproof
