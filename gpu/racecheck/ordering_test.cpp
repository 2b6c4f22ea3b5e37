#include "gpu/racecheck/ordering.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

namespace ringproof::racecheck {
namespace {

TEST(Ordering, NobodyKnowsOfAnybodyButItself) {
  Ordering ordering;
  ordering.start(40);
  EXPECT_TRUE(ordering.knows(3, 3, ordering.time(3)));
  EXPECT_FALSE(ordering.knows(3, 4, ordering.time(4)));
  EXPECT_FALSE(ordering.knows_warp(3, 1, ordering.time(39)));
}

TEST(Ordering, SynchronisingTellsWhatWasAndNotWhatComes) {
  Ordering ordering;
  ordering.start(64);
  const std::uint32_t before = ordering.time(33);
  std::array<int, 64> all{};
  std::iota(all.begin(), all.end(), 0);
  ordering.synchronise(all);
  EXPECT_TRUE(ordering.knows(0, 33, before));
  EXPECT_TRUE(ordering.knows_warp(0, 1, before));
  EXPECT_FALSE(ordering.knows(0, 33, ordering.time(33)));
  EXPECT_FALSE(ordering.knows_warp(0, 1, ordering.time(33)));
}

TEST(Ordering, ALaneThatStaysAwayIsNotKnownThoughItsWarpsClockAdvances) {
  Ordering ordering;
  ordering.start(32);
  const std::uint32_t before = ordering.time(7);
  ordering.synchronise(std::array{1, 2});
  EXPECT_TRUE(ordering.knows(1, 2, before));
  EXPECT_FALSE(ordering.knows(1, 7, before));
  EXPECT_FALSE(ordering.knows(7, 1, before));
  ordering.synchronise(std::array{2, 7});
  EXPECT_TRUE(ordering.knows(7, 1, before)) << "through thread 2";
  EXPECT_FALSE(ordering.knows(1, 7, before));
}

TEST(Ordering, AnArrivalTellsAndDoesNotLearn) {
  Ordering ordering;
  ordering.start(64);
  const std::uint32_t before = ordering.time(0);
  ordering.arrive(1, 0);
  ordering.arrive(1, 40);
  const std::uint32_t after = ordering.time(0);
  ordering.pass(1, 40);
  ordering.reset(1);
  EXPECT_TRUE(ordering.knows(40, 0, before));
  EXPECT_FALSE(ordering.knows(40, 0, after));
  EXPECT_FALSE(ordering.knows(0, 40, before));
  ordering.pass(1, 41);
  EXPECT_FALSE(ordering.knows(41, 0, before)) << "a new round of the barrier begins with nothing";
}

}  // namespace
}  // namespace ringproof::racecheck
