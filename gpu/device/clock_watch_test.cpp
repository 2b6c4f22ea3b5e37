// On a stand-in for NVML, and without one.

#include "gpu/device/clock_watch.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "gpu/stand_in/cuda_runtime.h"

namespace ringproof {
namespace {

TEST(ClockWatch, TellsTheClockOfTheDeviceAndTheHighestWhereThereIsNoDefault) {
  setenv("RINGPROOF_STAND_IN_CLOCKS", "345,1200,1980", 1);
  const ClockWatch watch(RINGPROOF_STAND_IN_NVML);
  EXPECT_EQ(watch.missing_reason(), "");
  EXPECT_EQ(watch.sm_clock_mhz(), 1200) << "the first reading is taken to see whether there is one";
  EXPECT_EQ(watch.sm_clock_mhz(), 1980);
  EXPECT_EQ(watch.default_clock_mhz(), 2000);
}

TEST(ClockWatch, WhatIsMissingIsSaidAndTheClockIsThenUnknown) {
  const ClockWatch none("libringproof_no_such_library.so");
  EXPECT_NE(none.missing_reason().find("no NVML (libringproof_no_such_library.so"), std::string::npos)
      << none.missing_reason();
  EXPECT_EQ(none.sm_clock_mhz(), 0);
  EXPECT_EQ(none.default_clock_mhz(), 0);
  const ClockWatch another_library("libm.so.6");
  EXPECT_EQ(another_library.missing_reason(), "this NVML lacks a function that is needed");
  unsetenv("RINGPROOF_STAND_IN_CLOCKS");
  const ClockWatch broken(RINGPROOF_STAND_IN_NVML);
  EXPECT_EQ(broken.missing_reason(), "NVML does not start");
  setenv("RINGPROOF_STAND_IN_CLOCKS", "0", 1);
  const ClockWatch silent(RINGPROOF_STAND_IN_NVML);
  EXPECT_EQ(silent.missing_reason(), "NVML does not tell the clock of this device");
  stand_in::fail("cudaDeviceGetPCIBusId", cudaErrorInvalidDevice);
  const ClockWatch lost(RINGPROOF_STAND_IN_NVML);
  stand_in::fail("cudaDeviceGetPCIBusId", cudaSuccess);
  EXPECT_EQ(lost.missing_reason(), "NVML does not know CUDA's device 0");
  EXPECT_EQ(lost.sm_clock_mhz(), 0);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "later calls do not see it";
}

}  // namespace
}  // namespace ringproof
