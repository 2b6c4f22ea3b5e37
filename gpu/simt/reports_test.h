#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "gpu/simt/simt.h"

/// For tests that provoke a report of the host runtime.
namespace ringproof::simt::host {

/// Every thread order, on one OS thread and on two.
inline std::vector<LaunchOptions> every_order() {
  return {{Order::kForward, 0, 2}, {Order::kReverse, 0, 2}, {Order::kRandom, 1, 2}, {Order::kRandom, 2, 1}};
}

/// The one report of a launch of one block with 256 bytes of shared memory that must stop.
template <class Kernel, class... Args>
Report report_of(const Kernel& kernel, dim3 block, const Args&... args) {
  const std::vector<Report> reports = launch_reported(kernel, dim3(1), block, 256, nullptr, args...);
  EXPECT_EQ(reports.size(), 1u);
  return reports.empty() ? Report{ReportKind::kException, "nothing was reported"} : reports.front();
}

/// That the report names this line of the calling file.
inline void expect_names_line(const Report& report, int line, const char* file = __builtin_FILE()) {
  EXPECT_NE(report.text.find(to_string(Site{file, line})), std::string::npos)
      << "line " << line << " in: " << report.text;
}

}  // namespace ringproof::simt::host
