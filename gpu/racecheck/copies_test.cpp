#include "gpu/racecheck/copies.h"

#include <gtest/gtest.h>

namespace ringproof::racecheck {
namespace {

TEST(Copies, AWaitCompletesAllGroupsButTheLatest) {
  Copies copies;
  copies.start(2);
  const std::uint32_t first = copies.open_group(0);
  EXPECT_EQ(copies.open_group(0), first);
  copies.commit(0);
  const std::uint32_t second = copies.open_group(0);
  copies.commit(0);
  const std::uint32_t uncommitted = copies.open_group(0), of_another = copies.open_group(1);
  copies.wait(0, 1, 5);
  EXPECT_EQ(copies.complete_at(first), 5u);
  EXPECT_EQ(copies.complete_at(second), Copies::kUnderWay);
  copies.wait(0, 0, 6);
  EXPECT_EQ(copies.complete_at(first), 5u);
  EXPECT_EQ(copies.complete_at(second), 6u);
  EXPECT_EQ(copies.complete_at(uncommitted), Copies::kUnderWay);
  EXPECT_EQ(copies.complete_at(of_another), Copies::kUnderWay);
}

TEST(Copies, EmptyGroupsCount) {
  Copies copies;
  copies.start(1);
  const std::uint32_t group = copies.open_group(0);
  copies.commit(0);
  copies.wait(0, 1, 5);
  EXPECT_EQ(copies.complete_at(group), Copies::kUnderWay);
  copies.commit(0);
  copies.wait(0, 1, 6);
  EXPECT_EQ(copies.complete_at(group), 6u);
}

}  // namespace
}  // namespace ringproof::racecheck
