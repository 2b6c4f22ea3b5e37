// What a block's threads do with memory through the runtime: cp.async, and the checks of addresses that ldmatrix,
// cp.async and atomics need. Plain loads and stores are the host's own and pass unseen.

#include <cstdint>
#include <string>

#include "gpu/simt/block.h"

namespace ringproof::simt::host {

void Block::require_aligned(const void* address, std::size_t alignment, const char* what, const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment == 0) return;
  fail(ReportKind::kMisaligned, std::string(what) + " at " + to_string(site) + " is not a multiple of " +
                                    std::to_string(alignment) + " (thread " + std::to_string(running_->number) + ")");
}

void Block::require_shared(const void* address, std::size_t bytes, std::size_t alignment, const char* what,
                           const Site& site) {
  require_aligned(address, alignment, what, site);
  const auto begin = reinterpret_cast<std::uintptr_t>(shared_memory_.data());
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  if (at >= begin && at - begin <= shared_memory_.size() && shared_memory_.size() - (at - begin) >= bytes) return;
  fail(ReportKind::kOutsideShared, std::string(what) + " at " + to_string(site) + " lies outside the " +
                                       std::to_string(shared_memory_.size()) + " bytes of shared memory (thread " +
                                       std::to_string(running_->number) + ", offset " +
                                       std::to_string(static_cast<std::int64_t>(at - begin)) + ")");
}

void Block::require_nothing_beside_shared() {
  const std::optional<std::int64_t> offset = shared_memory_.written_beside();
  if (!offset) return;
  fail(ReportKind::kOutsideShared, "somebody has written beside the " + std::to_string(shared_memory_.size()) +
                                       " bytes of shared memory, at offset " + std::to_string(*offset) +
                                       "; ringproof racecheck names the line");
}

void Block::prepare_matrix_row(const void* row, int row_count, const Site& site) {
  if (running_->lane >= row_count) return;
  require_shared(row, 16, 16, "the row address of an ldmatrix", site);
  note_access(row, 16, Access::kRead, site);
}

void Block::note_access(const void* address, std::size_t bytes, Access access, const Site& site) {
  if (Observer* const observer = launch_.options.observer) {
    observer->accessed(running_->number, address, bytes, access, site);
  }
}

void Block::start_async_copy(const AsyncCopy& copy) {
  require_shared(copy.shared, copy.bytes, copy.bytes, "the destination of a cp.async", copy.site);
  if (copy.global != nullptr) {
    require_aligned(copy.global, copy.bytes, "the source of a cp.async", copy.site);
    // A source outside its buffer is best seen here, not at the wait.
    static_cast<void>(*static_cast<const volatile unsigned char*>(copy.global));
  }
  if (Observer* const observer = launch_.options.observer) observer->copy_started(running_->number, copy);
  running_->copies.start(copy);
}

void Block::commit_async_copies(const Site& site) {
  if (Observer* const observer = launch_.options.observer) observer->copies_committed(running_->number, site);
  running_->copies.commit();
}

void Block::wait_for_async_copies(int groups_left, const Site& site) {
  if (is_ignored(site)) return;
  Observer* const observer = launch_.options.observer;
  if (observer != nullptr) observer->copies_waited(running_->number, groups_left, site);
  running_->copies.retire(groups_left, running_->number, observer);
}

}  // namespace ringproof::simt::host
