#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ringproof {

/// Says on stderr how far long work has come: a bar on a terminal, a plain line every few seconds elsewhere.
class Progress {
 public:
  explicit Progress(std::int64_t total, std::string what_is_counted = "Cases");
  /// `done` of the total are finished; `what` is at work now.
  void show(std::int64_t done, const std::string& what);
  /// Clears the bar, so that a line can be printed.
  void clear();

 private:
  std::int64_t total_;
  std::string what_is_counted_;
  bool terminal_;
  std::chrono::steady_clock::time_point start_, shown_;
};

}  // namespace ringproof
