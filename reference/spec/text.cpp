#include "reference/spec/text.h"

#include <array>
#include <charconv>

namespace ringproof {
namespace {

template <class Real>
std::string shortest_of(Real value) {
  std::array<char, 64> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

}  // namespace

std::string shortest(double value) { return shortest_of(value); }
std::string shortest(float value) { return shortest_of(value); }

}  // namespace ringproof
