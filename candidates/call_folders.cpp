#include "candidates/call_folders.h"

#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;

std::string name_of(pid_t pid) { return "ringproof-call-" + std::to_string(pid) + "-"; }

}  // namespace

CallFolders::CallFolders() {
  std::string name = (fs::temp_directory_path() / (name_of(getpid()) + "XXXXXX")).string();
  if (mkdtemp(name.data()) == nullptr) throw Error("no folder can be made for a call at " + name);
  root_ = name;
  fs::create_directory(in());
  fs::create_directory(out());
}

CallFolders::~CallFolders() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

void remove_call_folders(pid_t pid) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fs::temp_directory_path(ignored), ignored)) {
    if (entry.path().filename().string().starts_with(name_of(pid))) fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace ringproof
