// A group is a number; its copies carry it in place of a time. Groups without copies count for the waits too.

#include "gpu/racecheck/copies.h"

#include <cstddef>

namespace ringproof::racecheck {

void Copies::start(int thread_count) {
  threads_.assign(static_cast<std::size_t>(thread_count), Thread{});
  complete_at_.clear();
}

std::uint32_t Copies::open_group(int thread) {
  std::uint32_t& open = threads_[static_cast<std::size_t>(thread)].open;
  if (open == kUnderWay) {
    open = static_cast<std::uint32_t>(complete_at_.size());
    complete_at_.push_back(kUnderWay);
  }
  return open;
}

void Copies::commit(int thread) {
  Thread& t = threads_[static_cast<std::size_t>(thread)];
  t.committed.push_back(t.open);
  t.open = kUnderWay;
}

void Copies::wait(int thread, int keep, std::uint32_t time) {
  std::vector<std::uint32_t>& committed = threads_[static_cast<std::size_t>(thread)].committed;
  const std::size_t kept = static_cast<std::size_t>(keep);
  if (committed.size() <= kept) return;
  const std::size_t complete = committed.size() - kept;
  for (std::size_t i = 0; i < complete; ++i) {
    if (committed[i] != kUnderWay) complete_at_[committed[i]] = time;
  }
  committed.erase(committed.begin(), committed.begin() + static_cast<std::ptrdiff_t>(complete));
}

}  // namespace ringproof::racecheck
