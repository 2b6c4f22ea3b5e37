#include "distributed/errands.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using std::chrono::milliseconds;

TEST(Errands, AreRunInOrderOnTheThreadThatServes) {
  Errands errands(milliseconds(1000));
  const std::thread::id served = std::this_thread::get_id();
  std::vector<int> seen;
  std::thread asker([&] {
    for (int i = 0; i < 100; ++i) {
      errands.ask([&] {
        EXPECT_EQ(std::this_thread::get_id(), served);
        seen.push_back(i);
      });
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(i + 1)) << "ask() returns when it is done";
    }
    errands.finish();
  });
  errands.serve([] {});
  asker.join();
  EXPECT_EQ(seen.size(), 100U);
}

TEST(Errands, WhatOneThrowsReachesWhoAskedAndNobodyElse) {
  Errands errands(milliseconds(1000));
  std::string said;
  std::thread asker([&] {
    try {
      errands.ask([] { throw Error("no such place"); });
    } catch (const Error& error) {
      said = error.what();
    }
    EXPECT_NO_THROW(errands.ask([] {}));
    errands.finish();
  });
  errands.serve([] {});
  asker.join();
  EXPECT_EQ(said, "no such place");
}

TEST(Errands, OwnWorkIsDoneBetweenThemAndWhileNobodyAsks) {
  Errands errands(milliseconds(1));
  int turns = 0;
  std::thread asker([&] {
    for (int seen = 0; seen < 5;) errands.ask([&] { seen = turns; });
    errands.finish();
  });
  errands.serve([&] { ++turns; });
  asker.join();
  EXPECT_GE(turns, 5);
}

}  // namespace
}  // namespace ringproof
