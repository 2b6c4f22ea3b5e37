#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ringproof {

/// An array read from a .npy file (version 1.0, C order, little endian).
struct NpyArray {
  std::string type;  ///< NumPy's type string: "<f2", "<f8", "<u2", ...
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;  ///< elements in C order
};

/// Reads `path`. Throws InputError naming the file when it is missing, truncated or of another kind. With
/// `header_only` the elements are counted but stay unread.
NpyArray read_npy(const std::string& path, bool header_only = false);

}  // namespace ringproof
