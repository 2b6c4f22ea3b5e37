// Shows the storage formats to another program: dtype_test.py holds them against NumPy and ml_dtypes.
//
//   ringproof_dtype_dump store <dtype>   doubles on standard input, their stored bits on standard output
//   ringproof_dtype_dump round <dtype>   doubles in, doubles out: round_to
//   ringproof_dtype_dump load <dtype>    stored bits in, doubles out
//
// Everything is raw and in the machine's byte order.

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "reference/spec/dtype.h"

namespace ringproof {
namespace {

std::vector<std::byte> read_all(std::FILE* file) {
  std::vector<std::byte> bytes, block(std::size_t{1} << 16);
  while (const std::size_t count = std::fread(block.data(), 1, block.size(), file)) {
    bytes.insert(bytes.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return bytes;
}

double double_at(const std::byte* address) {
  double value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

int dump(std::string_view verb, Dtype dtype) {
  const bool is_load = verb == "load", is_store = verb == "store";
  const std::size_t bytes_in = is_load ? size_bytes(dtype) : sizeof(double);
  const std::size_t bytes_out = is_store ? size_bytes(dtype) : sizeof(double);
  const std::vector<std::byte> in = read_all(stdin);
  std::vector<std::byte> out(in.size() / bytes_in * bytes_out);
  for (std::size_t i = 0; i < in.size() / bytes_in; ++i) {
    const std::byte* from = in.data() + i * bytes_in;
    std::byte* to = out.data() + i * bytes_out;
    if (is_store) {
      store(to, dtype, double_at(from));
      continue;
    }
    const double value = is_load ? load(from, dtype) : round_to(dtype, double_at(from));
    std::memcpy(to, &value, sizeof value);
  }
  return std::fwrite(out.data(), 1, out.size(), stdout) == out.size() ? 0 : 1;
}

}  // namespace
}  // namespace ringproof

int main(int argc, char** argv) {
  const std::string_view verb = argc == 3 ? argv[1] : "";
  const std::optional<ringproof::Dtype> dtype = argc == 3 ? ringproof::parse_dtype(argv[2]) : std::nullopt;
  if (!dtype || (verb != "store" && verb != "round" && verb != "load")) {
    std::fputs("give store, round or load, and a storage dtype\n", stderr);
    return 2;
  }
  return ringproof::dump(verb, *dtype);
}
