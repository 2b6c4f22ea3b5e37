#include "ci/files.h"

#include <filesystem>
#include <fstream>

#include "reference/spec/error.h"

namespace ringproof {

void require_writable(const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  const std::string probe = folder + "/probe.new";
  const bool writable = std::ofstream(probe).good();
  if (!writable) throw InputError("nothing can be written into " + folder + "; give another folder");
  std::filesystem::remove(probe, failed);
}

void write_whole(const std::string& path, const std::string& text) {
  const std::string beside = path + ".new";
  std::ofstream file(beside, std::ios::binary);
  file << text;
  file.close();
  std::error_code failed;
  if (file) std::filesystem::rename(beside, path, failed);
  if (!file || failed) throw Error(path + " cannot be written; free space or give another --out");
}

}  // namespace ringproof
