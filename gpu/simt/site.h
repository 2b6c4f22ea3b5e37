#pragma once

#include <string>

namespace ringproof::simt::host {

/// A place in the kernel's source. (std::source_location is missing from clang 14 with libstdc++.)
struct Site {
  const char* file = nullptr;
  int line = 0;
  static constexpr Site current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// "flash_forward_fp32.cuh:93": the file's name without its folders.
std::string to_string(const Site& site);

/// Files of the same name, whatever their folders.
bool same_file(const char* a, const char* b);

inline bool same_place(const Site& a, const Site& b) {
  return a.line == b.line && (a.file == b.file || same_file(a.file, b.file));
}

}  // namespace ringproof::simt::host
