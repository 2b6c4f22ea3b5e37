#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ci/power_matrix.h"

namespace ringproof {

/// What a power run was asked and where it ran.
struct PowerInfo {
  std::vector<std::string> arguments;
  std::string tier;
  std::uint64_t seed;
  std::string cpu;
  int threads, exit_code;
};

/// FOLDER/power.json (schema: reports/power.schema.json) and FOLDER/power.md, the same for reading.
class PowerFiles {
 public:
  /// Creates the folder and checks that both can be written; "" writes nothing. Throws InputError naming the folder.
  explicit PowerFiles(const std::string& folder);

  /// Writes both, each whole or not at all. Throws Error naming the file.
  void write(const PowerInfo& info, const PowerMatrix& matrix) const;

 private:
  std::string folder_;
};

}  // namespace ringproof
