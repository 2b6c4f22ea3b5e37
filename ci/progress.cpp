#include "ci/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace ringproof {
namespace {

using Seconds = std::chrono::duration<double>;

int terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::int64_t total, std::string what_is_counted)
    : total_(total),
      what_is_counted_(std::move(what_is_counted)),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      shown_{} {}

void Progress::show(std::int64_t done, const std::string& what) {
  const auto now = std::chrono::steady_clock::now();
  const double pause = terminal_ ? 0.1 : 5;
  if (Seconds(now - shown_).count() < pause && done < total_) return;
  shown_ = now;
  const double seconds = Seconds(now - start_).count();
  if (!terminal_) {
    fmt::print(stderr, "{} of {} {}, {:.0f} s: {}\n", done, total_, what_is_counted_, seconds, what);
    return;
  }
  constexpr std::int64_t kWidth = 24;
  const std::int64_t filled = total_ ? kWidth * done / total_ : kWidth;
  const std::string line =
      fmt::format("[{:<{}}] {}/{} {:.0f} s  {}", std::string(static_cast<std::size_t>(filled), '#'), kWidth, done,
                  total_, seconds, what);
  fmt::print(stderr, "\r\033[K{}", line.substr(0, static_cast<std::size_t>(std::max(terminal_columns() - 1, 20))));
  std::fflush(stderr);
}

void Progress::clear() {
  if (terminal_) fmt::print(stderr, "\r\033[K");
}

}  // namespace ringproof
