#include "reference/spec/visibility.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ringproof {
namespace {

Problem problem_of(const Mask& mask, std::int64_t seqlen_q, std::int64_t seqlen_kv) {
  return {Dtype::kF32, mask, 1, 1, 1, seqlen_q, seqlen_kv, 4, 4, 1.0};
}

Mask documents(std::vector<std::int64_t> lengths_q, std::vector<std::int64_t> lengths_kv, bool causal) {
  Mask mask{MaskKind::kDocument};
  mask.document_lengths_q = std::move(lengths_q);
  mask.document_lengths_kv = std::move(lengths_kv);
  mask.document_causal = causal;
  return mask;
}

Mask blocks(std::int64_t block_q, std::int64_t block_kv, double share_kept, std::uint64_t seed) {
  Mask mask{MaskKind::kBlockSparse};
  mask.block_q = block_q;
  mask.block_kv = block_kv;
  mask.block_share_kept = share_kept;
  mask.block_seed = seed;
  return mask;
}

// Every question about one problem against the answer pair by pair.
template <class IsVisible>
void expect_sees(const Problem& problem, const IsVisible& is_visible) {
  SCOPED_TRACE(to_string(problem.mask) + " " + std::to_string(problem.seqlen_q) + "x" +
               std::to_string(problem.seqlen_kv));
  const Visibility visibility(problem);
  std::vector<bool> seen_by_any(static_cast<std::size_t>(problem.seqlen_kv));
  for (std::int64_t i = 0; i < problem.seqlen_q; ++i) {
    std::vector<bool> in_a_range(static_cast<std::size_t>(problem.seqlen_kv));
    std::int64_t end_before = -1;
    for (const KeyRange& range : visibility.ranges(i)) {
      ASSERT_LT(end_before, range.begin) << "row " << i;  // ascending, disjoint, not touching
      ASSERT_LT(range.begin, range.end) << "row " << i;
      ASSERT_LE(range.end, problem.seqlen_kv) << "row " << i;
      for (std::int64_t j = range.begin; j < range.end; ++j) in_a_range[static_cast<std::size_t>(j)] = true;
      end_before = range.end;
    }
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < problem.seqlen_kv; ++j) {
      const bool want = is_visible(i, j);
      ASSERT_EQ(visibility.sees(i, j), want) << i << " " << j;
      ASSERT_EQ(in_a_range[static_cast<std::size_t>(j)], want) << i << " " << j;
      count += want;
      if (want) seen_by_any[static_cast<std::size_t>(j)] = true;
    }
    ASSERT_EQ(visibility.count(i), count) << "row " << i;
  }
  for (std::int64_t j = 0; j < problem.seqlen_kv; ++j) {
    ASSERT_EQ(visibility.any_row_sees(j), seen_by_any[static_cast<std::size_t>(j)]) << "key " << j;
  }
}

TEST(Visibility, OfABandIsTheBand) {
  std::vector<Mask> masks{{MaskKind::kFull}, {MaskKind::kCausalTopLeft}, {MaskKind::kCausalBottomRight}};
  for (std::int64_t left = -1; left <= 2; ++left) {
    for (std::int64_t right = -1; right <= 2; ++right) masks.push_back({MaskKind::kWindow, left, right});
  }
  for (const Mask& mask : masks) {
    for (std::int64_t q = 0; q <= 5; ++q) {
      for (std::int64_t kv = 0; kv <= 6; ++kv) {
        const Band band = band_of(mask, q, kv);
        expect_sees(problem_of(mask, q, kv), [&](auto i, auto j) { return i + band.lo <= j && j <= i + band.hi; });
      }
    }
  }
}

// Written with a document number per token instead of cumulative lengths; -1 for tokens of none.
std::vector<std::int64_t> document_numbers(const std::vector<std::int64_t>& lengths, std::int64_t seqlen) {
  std::vector<std::int64_t> numbers;
  for (std::size_t d = 0; d < lengths.size(); ++d) {
    numbers.insert(numbers.end(), static_cast<std::size_t>(lengths[d]), static_cast<std::int64_t>(d));
  }
  numbers.resize(static_cast<std::size_t>(seqlen), -1);
  return numbers;
}

// Tokens of the same document from this one to the document's end.
std::int64_t tokens_left(const std::vector<std::int64_t>& numbers, std::int64_t token) {
  std::int64_t left = 0;
  for (auto at = static_cast<std::size_t>(token); at < numbers.size() && numbers[at] == numbers[token]; ++at) ++left;
  return left;
}

TEST(Visibility, OfDocumentsIsBlockDiagonalAndCausalFromTheEndOfEachDocument) {
  std::int64_t count_problems = 0;
  for (std::int64_t code = 0; code < 4 * 4 * 4 * 4 * 4 * 4; ++code) {
    const std::vector<std::int64_t> q{code % 4, code / 4 % 4, code / 16 % 4},
        kv{code / 64 % 4, code / 256 % 4, code / 1024};
    for (const std::int64_t rest : {0, 2}) {
      const std::int64_t seqlen_q = q[0] + q[1] + q[2] + rest, seqlen_kv = kv[0] + kv[1] + kv[2] + 2 - rest;
      const auto of_row = document_numbers(q, seqlen_q), of_key = document_numbers(kv, seqlen_kv);
      for (const bool causal : {false, true}) {
        ++count_problems;
        expect_sees(problem_of(documents(q, kv, causal), seqlen_q, seqlen_kv), [&](auto i, auto j) {
          if (of_row[i] < 0 || of_row[i] != of_key[j]) return false;
          return !causal || tokens_left(of_row, i) <= tokens_left(of_key, j);
        });
      }
    }
  }
  EXPECT_EQ(count_problems, 4096 * 4);
}

TEST(Visibility, OfBlocksReadsTheFlagOfTheTile) {
  std::int64_t count_kept = 0, count_hidden = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    for (const auto& [q, kv] : {std::pair{0, 7}, {7, 0}, {1, 1}, {9, 14}, {8, 12}, {13, 5}}) {
      for (const auto& [block_q, block_kv] : {std::pair{1, 1}, {4, 3}, {2, 5}, {16, 16}}) {
        const Mask mask = blocks(block_q, block_kv, 0.4, seed);
        const std::vector<std::uint8_t> flags = block_flags(mask, q, kv);
        const std::int64_t across = (kv + block_kv - 1) / block_kv, down = (q + block_q - 1) / block_q;
        ASSERT_EQ(static_cast<std::int64_t>(flags.size()), across * down);
        for (const std::uint8_t flag : flags) {
          ASSERT_LE(flag, 1);
          ++(flag != 0 ? count_kept : count_hidden);
        }
        expect_sees(problem_of(mask, q, kv),
                    [&](auto i, auto j) { return flags[i / block_q * across + j / block_kv] != 0; });
      }
    }
  }
  EXPECT_GT(count_kept, 1000);
  EXPECT_GT(count_hidden, count_kept);
}

TEST(BlockFlags, KeepEverythingOrNothingAtTheEndsOfTheShare) {
  EXPECT_EQ(block_flags(blocks(3, 4, 0, 9), 10, 9), std::vector<std::uint8_t>(12, 0));
  EXPECT_EQ(block_flags(blocks(3, 4, 1, 9), 10, 9), std::vector<std::uint8_t>(12, 1));
  EXPECT_TRUE(block_flags(blocks(3, 4, 1, 9), 0, 9).empty());
}

TEST(BlockFlags, AreTheShareOfTheTilesAndAnotherForEverySeed) {
  const std::vector<std::uint8_t> one = block_flags(blocks(1, 1, 0.25, 1), 100, 100);
  const std::vector<std::uint8_t> other = block_flags(blocks(1, 1, 0.25, 2), 100, 100);
  EXPECT_NE(one, other);
  std::int64_t kept = 0;
  for (const std::uint8_t flag : one) kept += flag;
  EXPECT_EQ(kept, 2487);  // of 10,000 draws, as a second program counted
}

TEST(BlockFlags, OfASmallerShareAreAmongThoseOfALarger) {
  const std::vector<std::uint8_t> few = block_flags(blocks(2, 2, 0.2, 3), 40, 40);
  const std::vector<std::uint8_t> many = block_flags(blocks(2, 2, 0.6, 3), 40, 40);
  for (std::size_t tile = 0; tile < few.size(); ++tile) EXPECT_LE(few[tile], many[tile]);
}

TEST(CumulativeLengths, BeginWithZeroAndEndWithTheSum) {
  EXPECT_EQ(cumulative_lengths({5, 0, 123}), (std::vector<std::int64_t>{0, 5, 5, 128}));
}

}  // namespace
}  // namespace ringproof
