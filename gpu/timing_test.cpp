#include "gpu/timing.h"

#include <gtest/gtest.h>

namespace ringproof {
namespace {

DeviceTiming timing_of(std::vector<TimedLaunch> launches, int default_clock_mhz, std::vector<double> wall_ms) {
  DeviceTiming timing;
  timing.launches = std::move(launches);
  timing.default_clock_mhz = default_clock_mhz;
  timing.wall_ms = std::move(wall_ms);
  return timing;
}

TEST(Timing, LaunchesBelowThreeQuartersOfTheDefaultClockAreDroppedAndCounted) {
  const TimingSummary summary =
      summarise(timing_of({{5, 2000}, {9, 1499}, {6, 1500}, {7, 1900}, {8, 100}}, 2000, {6.5, 6.4}));
  EXPECT_EQ(summary.event_ms, (std::vector<double>{5, 6, 7}));
  EXPECT_EQ(summary.dropped_count, 2);
  EXPECT_EQ(summary.ms_min, 5);
  EXPECT_EQ(summary.ms_median, 6);
  EXPECT_EQ(summary.wall_ms_min, 6.4);
}

TEST(Timing, NothingIsDroppedWhereNobodyReadsTheClock) {
  EXPECT_EQ(summarise(timing_of({{5, 0}, {6, 0}}, 2000, {})).dropped_count, 0);
  EXPECT_EQ(summarise(timing_of({{5, 300}, {6, 300}}, 0, {})).dropped_count, 0);
  const TimingSummary none = summarise(timing_of({{5, 300}}, 2000, {}));
  EXPECT_TRUE(none.event_ms.empty());
  EXPECT_EQ(none.ms_median, 0);
}

TEST(Timing, QuartilesAreThoseOfTheLaunchesThatCount) {
  const TimingSummary summary = summarise(timing_of({{9, 0}, {1, 0}, {5, 0}, {3, 0}, {7, 0}}, 0, {}));
  EXPECT_EQ(summary.ms_quartile_1, 3);
  EXPECT_EQ(summary.ms_median, 5);
  EXPECT_EQ(summary.ms_quartile_3, 7);
}

TEST(Timing, AClockIsSteadyWhenFiveReadingsInARowAgree) {
  EXPECT_FALSE(is_clock_steady(std::vector<int>{}));
  EXPECT_FALSE(is_clock_steady(std::vector<int>{1980, 1980, 1980, 1980}));
  EXPECT_TRUE(is_clock_steady(std::vector<int>{345, 1980, 1980, 1965, 1980, 1965}));
  EXPECT_FALSE(is_clock_steady(std::vector<int>{1980, 1980, 1980, 1980, 1900}));
  EXPECT_FALSE(is_clock_steady(std::vector<int>{0, 0, 0, 0, 0})) << "nobody reads it";
}

// Data sheets: A100 312, H100 SXM 989, in TFLOP/s at 1410 and 1830 MHz.
TEST(Timing, TheRooflineIsThatOfTheDataSheets) {
  EXPECT_EQ(static_cast<int>(roofline_tflops({"A100", 8, 0, 108, 1410})), 311);
  EXPECT_EQ(static_cast<int>(roofline_tflops({"H100", 9, 0, 132, 1830})), 989);
  EXPECT_EQ(roofline_tflops({"unheard of", 14, 3, 500, 3000}), 0);
}

TEST(Timing, AnOrdinaryTimingIsNotSuspicious) {
  const TimingSummary summary = summarise(timing_of({{5, 2000}, {5, 2000}}, 2000, {5.05}));
  EXPECT_TRUE(suspicions(summary, 600, 989, 640).empty());
  EXPECT_TRUE(suspicions(summary, 700, 989, 640).empty()) << "9 % faster than cuDNN may be";
  EXPECT_TRUE(suspicions(summary, 600, 989, 0).empty()) << "no cuDNN";
}

TEST(Timing, WhatCannotBeIsNotCelebrated) {
  const TimingSummary fine = summarise(timing_of({{5, 2000}, {5, 2000}}, 2000, {5.05}));
  EXPECT_EQ(suspicions(fine, 990, 989, 0), std::vector<std::string>{"faster than the device's tensor cores can be"});
  EXPECT_EQ(suspicions(fine, 710, 989, 640), std::vector<std::string>{"more than 10 % faster than cuDNN"});
  EXPECT_EQ(suspicions(fine, 710, 0, 0).size(), 1u) << "an unknown roofline is said";
  const TimingSummary side_stream = summarise(timing_of({{0.01, 2000}, {0.01, 2000}}, 2000, {5}));
  ASSERT_EQ(suspicions(side_stream, 500, 989, 0).size(), 1u);
  EXPECT_NE(suspicions(side_stream, 500, 989, 0)[0].find("not on the stream"), std::string::npos);
  const TimingSummary lazy = summarise(timing_of({{5, 2000}}, 2000, {1}));
  EXPECT_EQ(suspicions(lazy, 500, 989, 0),
            std::vector<std::string>{"the host's clock saw shorter work than the events"});
  const TimingSummary throttled = summarise(timing_of({{5, 2000}, {8, 900}, {8, 900}}, 2000, {5}));
  ASSERT_EQ(suspicions(throttled, 500, 989, 0).size(), 1u);
  EXPECT_NE(suspicions(throttled, 500, 989, 0)[0].find("75 %"), std::string::npos);
}

}  // namespace
}  // namespace ringproof
