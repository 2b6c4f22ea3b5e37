#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ringproof {

/// What a comparison of the device with the host's account of it found.
struct Finding {
  std::string check;     ///< what was compared, "ldmatrix"
  bool agrees;           ///< the host tells the truth about this device
  std::string sentence;  ///< what was found, with the first difference where there is one
  std::vector<std::pair<std::string, double>> facts{};  ///< name with unit, value
  bool is_judged = true;  ///< else only measured: the host has no account of this device's numerics
};

}  // namespace ringproof
