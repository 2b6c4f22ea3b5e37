#include "distributed/happens_before.h"

#include <gtest/gtest.h>

#include <array>

namespace ringproof {
namespace {

using Id = HappensBefore::Id;

std::array<std::byte, 64> memory;

std::span<const std::byte> bytes(std::size_t begin, std::size_t end) {
  return std::span(memory).subspan(begin, end - begin);
}

Id add(HappensBefore& order, const std::string& what, std::vector<Id> after, std::vector<MemoryAccess> accesses = {},
       int rank = 0, int step = 0) {
  return order.add({rank, step, what}, after, accesses);
}

TEST(HappensBefore, OrderIsWhatWasAskedForAndWhatFollowsFromIt) {
  HappensBefore order;
  const Id a = add(order, "a", {}), b = add(order, "b", {a}), c = add(order, "c", {a});
  const Id d = add(order, "d", {b}), e = add(order, "e", {c, -1}), f = add(order, "f", {d, e}), g = add(order, "g", {});
  for (const auto& [earlier, later] : {std::pair{a, b}, {a, d}, {a, e}, {b, f}, {c, f}, {a, f}}) {
    EXPECT_TRUE(order.is_before(earlier, later)) << earlier << " " << later;
    EXPECT_FALSE(order.is_before(later, earlier)) << earlier << " " << later;
  }
  for (const auto& [one, other] : {std::pair{b, c}, {d, e}, {b, e}, {c, d}, {f, g}, {a, g}, {f, f}}) {
    EXPECT_FALSE(order.is_before(one, other)) << one << " " << other;
    EXPECT_FALSE(order.is_before(other, one)) << one << " " << other;
  }
}

// Every pair against reachability, on graphs in which each operation comes after some of the last few.
TEST(HappensBefore, ClocksSayWhatReachabilitySays) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    constexpr Id kCount = 60;
    HappensBefore order;
    std::vector<std::vector<bool>> reaches(kCount, std::vector<bool>(kCount, false));
    unsigned state = seed;
    for (Id id = 0; id < kCount; ++id) {
      std::vector<Id> after;
      for (Id before = std::max<Id>(0, id - 8); before < id; ++before) {
        state = state * 1664525u + 1013904223u;
        if (state >> 30 != 0) continue;
        after.push_back(before);
        reaches[static_cast<std::size_t>(before)][static_cast<std::size_t>(id)] = true;
        for (auto& row : reaches)
          row[static_cast<std::size_t>(id)] =
              row[static_cast<std::size_t>(id)] || row[static_cast<std::size_t>(before)];
      }
      EXPECT_EQ(add(order, "", after), id);
    }
    for (Id a = 0; a < kCount; ++a) {
      for (Id b = 0; b < kCount; ++b) {
        const bool want = reaches[static_cast<std::size_t>(a)][static_cast<std::size_t>(b)];
        ASSERT_EQ(order.is_before(a, b), want) << a << " " << b << " seed " << seed;
      }
    }
  }
}

TEST(HappensBefore, UnorderedAccessesToTheSameBytesAreARaceIfOneWrites) {
  HappensBefore order;
  order.call(0, bytes(0, 32), "K 1");
  const Id start = add(order, "start", {}, {{bytes(0, 32), true}});
  add(order, "local step", {start}, {{bytes(0, 16), false}}, 0, 1);
  add(order, "merge", {start}, {{bytes(8, 24), false}}, 0, 1);
  EXPECT_TRUE(order.races().empty());
  add(order, "receive from rank 1", {start}, {{bytes(12, 40), true}}, 0, 2);
  ASSERT_EQ(order.races().size(), 2u);
  EXPECT_EQ(to_string(order.races()[0]),
            "rank 0, step 2: receive from rank 1 of step 2 writes and local step of step 1 reads K 1, bytes [12, 16), "
            "and nothing orders the two");
  EXPECT_EQ(to_string(order.races()[1]),
            "rank 0, step 2: receive from rank 1 of step 2 writes and merge of step 1 reads K 1, bytes [12, 24), and "
            "nothing orders the two");
}

TEST(HappensBefore, OrderedAndDisjointAccessesAndThoseOfOtherRanksAreNone) {
  HappensBefore order;
  const Id first = add(order, "first", {}, {{bytes(0, 32), true}, {bytes(0, 32), false}});
  add(order, "after it", {first}, {{bytes(0, 32), true}});
  add(order, "beside it", {}, {{bytes(32, 64), true}});
  add(order, "of another rank", {}, {{bytes(0, 64), true}}, 1);
  add(order, "of nothing", {}, {{bytes(8, 8), true}});
  EXPECT_TRUE(order.races().empty());
}

TEST(HappensBefore, ForgottenMemoryIsOtherMemory) {
  HappensBefore order;
  order.call(0, bytes(0, 16), "old");
  add(order, "before", {}, {{bytes(0, 16), true}});
  order.forget(0, bytes(0, 16));
  add(order, "one", {}, {{bytes(0, 16), true}});
  EXPECT_TRUE(order.races().empty());
  add(order, "other", {}, {{bytes(4, 8), false}});
  ASSERT_EQ(order.races().size(), 1u);
  EXPECT_EQ(order.races()[0].buffer, "memory of one");
  EXPECT_EQ(order.races()[0].begin, 4u);
  EXPECT_EQ(order.races()[0].end, 8u);
}

}  // namespace
}  // namespace ringproof
