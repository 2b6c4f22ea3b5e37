#include "reference/judge/mapping.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>
#include <thread>

namespace ringproof {
namespace {

TEST(Mapping, OfTerabytesCostsOnlyTheTouchedPages) {
  const Mapping mapping(std::size_t{1} << 42);
  mapping.data()[std::size_t{1} << 41] = std::byte{7};
  EXPECT_EQ(mapping.data()[std::size_t{1} << 41], std::byte{7});
  EXPECT_EQ(mapping.data()[(std::size_t{1} << 42) - 1], std::byte{0});
}

TEST(Mapping, ThatIsSharedIsItsFile) {
  Mapping mapping = Mapping::shared(std::size_t{1} << 42);
  Mapping moved = std::move(mapping);
  EXPECT_EQ(mapping.descriptor(), -1);
  moved.data()[std::size_t{1} << 41] = std::byte{7};
  char in_file = 0;
  EXPECT_EQ(pread(moved.descriptor(), &in_file, 1, std::int64_t{1} << 41), 1);
  EXPECT_EQ(in_file, 7);
  EXPECT_EQ(moved.bytes_open(), moved.bytes());
  moved.watch_tail(2 * page_bytes());
  EXPECT_EQ(moved.bytes_open(), moved.bytes() - 2 * page_bytes());
  EXPECT_NE(Mapping::shared(1).id(), moved.id());
  EXPECT_EQ(Mapping(1).id(), 0u);
}

TEST(Mapping, NotesTheFirstTouchOfItsTailFromAnyThreadAndGoesOn) {
  const std::size_t page = page_bytes();
  Mapping mapping(3 * page);
  mapping.data()[2 * page + 100] = std::byte{9};
  for (int round = 0; round < 2; ++round) {
    mapping.watch_tail(page);
    mapping.data()[2 * page - 1] = std::byte{5};
    EXPECT_LT(mapping.touched_at(), 0);
    std::byte read{};
    std::thread([&] { read = const_cast<volatile std::byte&>(mapping.data()[2 * page + 100]); }).join();
    EXPECT_EQ(read, std::byte{9});
    EXPECT_EQ(mapping.touched_at(), 100);
  }
  mapping.unwatch();
  EXPECT_LT(mapping.touched_at(), 0);
}

TEST(Mapping, KeepsItsWatchWhenItMoves) {
  Mapping mapping(2 * page_bytes());
  mapping.watch_tail(page_bytes());
  Mapping moved = std::move(mapping);
  const_cast<volatile std::byte&>(moved.data()[page_bytes()]) = std::byte{1};
  EXPECT_EQ(moved.touched_at(), 0);
}

TEST(ACrash, OfACandidateSaysWhichAndIsInconclusive) {
  EXPECT_EXIT(
      {
        const CrashSentence said("ringproof: x crashed on 'a Case'\n");
        std::thread([] { std::raise(SIGSEGV); }).join();
      },
      testing::ExitedWithCode(3), "x crashed on 'a Case'");
}

TEST(ACrash, OutsideOfCallsIsNobodysCandidate) {
  EXPECT_EXIT(
      {
        { const CrashSentence said("said\n"); }
        std::raise(SIGSEGV);
      },
      testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace ringproof
