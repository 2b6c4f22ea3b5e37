// The .npy format: "\x93NUMPY", version (1, 0), header length (2 bytes), then a Python dict as text, then the
// elements. Only the three keys NumPy itself writes are read.

#include "reference/spec/npy.h"

#include <cctype>
#include <cstring>
#include <fstream>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw InputError(path + " " + what + "; make it again or restore it");
}

// The text after `'key':` in the header dict.
std::string after_key(const std::string& header, const std::string& key, const std::string& path) {
  const std::size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) refuse(path, "has no '" + key + "' in its header");
  std::size_t begin = at + key.size() + 3;
  while (begin < header.size() && std::isspace(static_cast<unsigned char>(header[begin]))) ++begin;
  return header.substr(begin);
}

std::vector<std::int64_t> read_shape(const std::string& text, const std::string& path) {
  std::vector<std::int64_t> shape;
  std::size_t at = 1;
  if (text.empty() || text[0] != '(') refuse(path, "has no shape tuple in its header");
  while (at < text.size() && text[at] != ')') {
    if (!std::isdigit(static_cast<unsigned char>(text[at]))) {
      ++at;
      continue;
    }
    std::size_t used = 0;
    shape.push_back(std::stoll(text.substr(at, 18), &used));
    at += used;
  }
  return shape;
}

}  // namespace

NpyArray read_npy(const std::string& path, bool header_only) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw InputError(path + " cannot be read; check the name, or set RINGPROOF_DATA to the data folder");
  char start[10];
  if (!file.read(start, sizeof start) || std::memcmp(start, "\x93NUMPY\x01", 7) != 0)
    refuse(path, "is no .npy file of version 1");
  const std::size_t header_bytes = static_cast<unsigned char>(start[8]) | static_cast<unsigned char>(start[9]) << 8;
  std::string header(header_bytes, ' ');
  if (!file.read(header.data(), static_cast<std::streamsize>(header_bytes))) refuse(path, "is truncated");
  if (after_key(header, "fortran_order", path).rfind("False", 0) != 0) refuse(path, "is not in C order");
  const std::string type = after_key(header, "descr", path);
  if (type.empty()) refuse(path, "has no element type in its header");
  NpyArray array;
  array.type = type.substr(1, type.find('\'', 1) - 1);
  array.shape = read_shape(after_key(header, "shape", path), path);
  if (array.type.size() != 3 || !std::isdigit(static_cast<unsigned char>(array.type[2])))
    refuse(path, "has an unknown element type");
  std::size_t bytes = static_cast<std::size_t>(array.type[2] - '0');
  for (const std::int64_t extent : array.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes)) refuse(path, "has an absurd shape");
  }
  file.seekg(0, std::ios::end);
  if (static_cast<std::size_t>(file.tellg()) != bytes + sizeof start + header_bytes)
    refuse(path, "is truncated or too long");
  if (header_only) return array;
  file.seekg(static_cast<std::streamoff>(sizeof start + header_bytes));
  array.bytes.resize(bytes);
  if (!file.read(reinterpret_cast<char*>(array.bytes.data()), static_cast<std::streamsize>(bytes)))
    refuse(path, "is truncated");
  return array;
}

}  // namespace ringproof
