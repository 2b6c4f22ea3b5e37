#include "distributed/checksum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace ringproof {
namespace {

std::vector<std::byte> bytes_of(std::size_t count, unsigned seed) {
  std::vector<std::byte> bytes;
  for (std::size_t index = 0; index < count; ++index) {
    seed = seed * 1664525u + 1013904223u;
    bytes.push_back(static_cast<std::byte>(seed >> 24));
  }
  return bytes;
}

TEST(Checksum, EveryFlippedBitChangesIt) {
  for (const std::size_t count : {1, 7, 8, 9, 31, 32, 33, 100}) {
    std::vector<std::byte> bytes = bytes_of(count, 1);
    const std::uint64_t whole = checksum_of(bytes);
    for (std::size_t bit = 0; bit < 8 * count; ++bit) {
      bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
      EXPECT_NE(checksum_of(bytes), whole) << count << " bytes, bit " << bit;
      bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    }
    EXPECT_EQ(checksum_of(bytes), whole);
  }
}

TEST(Checksum, LengthsOrdersAndContentsDiffer) {
  std::set<std::uint64_t> sums;
  const std::vector<std::byte> zeros(300);
  for (std::size_t count = 0; count <= zeros.size(); ++count) sums.insert(checksum_of({zeros.data(), count}));
  EXPECT_EQ(sums.size(), zeros.size() + 1);
  for (unsigned seed = 1; seed <= 1000; ++seed) sums.insert(checksum_of(bytes_of(64, seed)));
  EXPECT_EQ(sums.size(), zeros.size() + 1001);
  std::vector<std::byte> swapped = bytes_of(64, 1);
  std::swap_ranges(swapped.begin(), swapped.begin() + 32, swapped.begin() + 32);
  EXPECT_TRUE(sums.insert(checksum_of(swapped)).second);
  EXPECT_FALSE(sums.contains(0));
}

}  // namespace
}  // namespace ringproof
