// Four lanes take every fourth word each: lane = rotate(lane + word * a) * b with odd a and b. Every step is a
// bijection of the word and of the lane, so a change in one word always reaches the end; lanes are folded by bijections
// too. The last, partial word is filled with zeros, and the length is folded in. Four independent chains keep a core's
// multiplier busy. After XXH64 (Collet), simplified.

#include "distributed/checksum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace ringproof {
namespace {

constexpr std::uint64_t kA = 0xc2b2ae3d27d4eb4fu, kB = 0x9e3779b185ebca87u;

std::uint64_t stirred(std::uint64_t lane, std::uint64_t word) { return std::rotl(lane + word * kA, 31) * kB; }

}  // namespace

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  constexpr std::size_t kStep = 32;
  std::array<std::uint64_t, 4> lanes{1, 2, 3, 4};
  std::size_t at = 0;
  for (; at + kStep <= bytes.size(); at += kStep) {
    std::array<std::uint64_t, 4> words;
    std::memcpy(words.data(), bytes.data() + at, kStep);
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] = stirred(lanes[lane], words[lane]);
  }
  for (std::size_t lane = 0; at < bytes.size(); at += sizeof(std::uint64_t), ++lane) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min(sizeof(word), bytes.size() - at));
    lanes[lane] = stirred(lanes[lane], word);
  }
  std::uint64_t sum = stirred(0, bytes.size());
  for (const std::uint64_t lane : lanes) sum = stirred(sum, lane);
  return sum == 0 ? 1 : sum;
}

}  // namespace ringproof
