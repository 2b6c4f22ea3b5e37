// The examples that are judged in tests are what a newcomer gets: one copy, and it works.

#include "ci/new.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "ci/files.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;

// Beside the executable's folder when installed, else in the source tree.
fs::path shipped(const char* installed, const char* in_source) {
  const fs::path beside = fs::read_symlink("/proc/self/exe").parent_path() / ".." / installed;
  return fs::exists(beside) ? beside.lexically_normal() : fs::path(RINGPROOF_SOURCE_CANDIDATES) / in_source;
}

// What stands behind four spaces in a README.
std::string commands_in(const fs::path& readme) {
  std::string commands;
  std::ifstream file(readme);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("    ")) commands += line + "\n";
  }
  return commands;
}

}  // namespace

ExitCode run_new(const std::string& language, const std::string& folder) {
  if (language != "c" && language != "cuda" && language != "python") {
    throw InputError("there is no skeleton in '" + language + "'; give c, cuda or python");
  }
  const fs::path to = folder;
  std::error_code failed;
  if (fs::exists(to, failed) && !fs::is_empty(to, failed)) {
    throw InputError("the folder " + folder + " is not empty; name another one");
  }
  require_writable(folder);
  try {
    for (const auto& entry : fs::directory_iterator(shipped("share/ringproof/examples", "examples") / language)) {
      if (entry.is_regular_file()) fs::copy_file(entry.path(), to / entry.path().filename());
    }
    if (language != "python") {
      fs::create_directory(to / "ringproof");
      fs::copy_file(shipped("include/ringproof/candidate_abi.h", "candidate_abi.h"), to / "ringproof/candidate_abi.h");
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("the skeleton cannot be left in {}: {}", folder, error.code().message()));
  }
  fmt::print("{} holds a kernel that Ringproof accepts; put yours in its place. Next:\n\n    cd {}\n{}", folder, folder,
             commands_in(to / "README.md"));
  return ExitCode::kAccepted;
}

}  // namespace ringproof
