#pragma once

#include <sys/types.h>

#include <filesystem>

namespace ringproof {

/// The two folders of one call of a command, below the system's folder for temporary files, in one whose name holds the
/// process that made it. Removes them when it goes.
class CallFolders {
 public:
  /// Throws Error where they cannot be made.
  CallFolders();
  ~CallFolders();
  CallFolders(const CallFolders&) = delete;
  CallFolders& operator=(const CallFolders&) = delete;

  std::filesystem::path in() const { return root_ / "in"; }
  std::filesystem::path out() const { return root_ / "out"; }

 private:
  std::filesystem::path root_;
};

/// Removes what process `pid`, which has ended, left of its CallFolders.
void remove_call_folders(pid_t pid);

}  // namespace ringproof
