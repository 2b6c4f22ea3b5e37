// Blocks are independent: whoever is free takes the next number. The numbers are handed out in ascending order and a
// number once handed out is always finished, so the first report of the list is the same for any count of threads.

#include "gpu/simt/runtime.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <utility>

#include "gpu/simt/block.h"
#include "gpu/simt/worker_pool.h"
#include "reference/spec/error.h"

namespace ringproof::simt::host {
namespace {

// Limits of compute capability 8.0 to 9.0 (CUDA programming guide, table of technical specifications).
constexpr std::uint64_t kThreadsPerBlockMax = 1024, kThreadsAlongZMax = 64;
constexpr std::uint64_t kBlocksAlongXMax = 2147483647, kBlocksAlongYzMax = 65535;
constexpr std::size_t kSharedMemoryBytesMax = 227 * 1024;

void require_launchable(const Launch& launch) {
  const auto require = [](bool condition, const char* what) {
    if (!condition) throw Error(std::string("kernel launch: ") + what);
  };
  const dim3 grid = launch.grid, block = launch.block;
  require(grid.x > 0 && grid.y > 0 && grid.z > 0, "the grid has no block");
  require(block.x > 0 && block.y > 0 && block.z > 0, "the block has no thread");
  require(std::uint64_t{block.x} * block.y <= kThreadsPerBlockMax &&
              std::uint64_t{block.x} * block.y * block.z <= kThreadsPerBlockMax,
          "more than 1024 threads per block");
  require(block.z <= kThreadsAlongZMax, "more than 64 threads per block along z");
  require(grid.x <= kBlocksAlongXMax, "more than 2147483647 blocks along x");
  require(grid.y <= kBlocksAlongYzMax && grid.z <= kBlocksAlongYzMax, "more than 65535 blocks along y or z");
  require(launch.smem_bytes <= kSharedMemoryBytesMax, "more than 227 KiB of shared memory per block");
}

/// Blocks whose stacks wait for the next launch, whichever OS thread makes it. Never destroyed, as the pool.
class BlockCache {
 public:
  std::unique_ptr<Block> take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  void put_back(std::unique_ptr<Block> block) {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> free_;
};

BlockCache& block_cache() {
  static BlockCache& instance = *new BlockCache;
  return instance;
}

/// The splitmix64 finaliser: neighbouring numbers get unrelated seeds.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Which block is started as the n-th. Random orders walk the grid with a stride that has no common divisor with its
/// size: not every permutation, but every neighbour can come first.
class BlockOrder {
 public:
  BlockOrder(const LaunchOptions& options, std::uint64_t block_count) : order_(options.order), count_(block_count) {
    if (order_ != Order::kRandom) return;
    offset_ = mix(options.seed) % count_;
    stride_ = mix(options.seed + 1) % count_ + 1;
    while (std::gcd(stride_, count_) != 1) ++stride_;
  }
  std::uint64_t operator()(std::uint64_t n) const {
    switch (order_) {
      case Order::kForward: return n;
      case Order::kReverse: return count_ - 1 - n;
      case Order::kRandom: break;
    }
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((Wide{n} * stride_ + offset_) % count_);
  }

 private:
  Order order_;
  std::uint64_t count_, offset_ = 0, stride_ = 1;
};

/// State that the OS threads of one launch share.
struct Progress {
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  std::vector<std::pair<std::uint64_t, Report>> reports;  // with the number under which the block was started
  std::exception_ptr failure;
};

void work_on(const Launch& launch, std::uint64_t block_count, const BlockOrder& order, Progress& progress) {
  std::unique_ptr<Block> block = block_cache().take();
  block->prepare(launch);
  const dim3 grid = launch.grid;
  while (!progress.stopped.load()) {
    const std::uint64_t n = progress.next.fetch_add(1);
    if (n >= block_count) break;
    const std::uint64_t i = order(n);
    const uint3 index = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                         static_cast<unsigned>(i / grid.x / grid.y)};
    if (std::optional<Report> report = block->run(index, i, mix(launch.options.seed ^ mix(i)))) {
      std::lock_guard lock(progress.mutex);
      progress.reports.emplace_back(n, std::move(*report));
      progress.stopped = true;
    }
  }
  block_cache().put_back(std::move(block));
}

}  // namespace

const char* to_string(ReportKind kind) {
  switch (kind) {
    case ReportKind::kDeadlock: return "deadlock";
    case ReportKind::kDivergentBarrier: return "divergent barrier";
    case ReportKind::kPartialBarrier: return "partial barrier";
    case ReportKind::kWrongMask: return "wrong mask";
    case ReportKind::kExitedLane: return "exited lane";
    case ReportKind::kDifferentOperations: return "different operations";
    case ReportKind::kInactiveSource: return "inactive source";
    case ReportKind::kWrongNamedBarrier: return "wrong named barrier";
    case ReportKind::kMisaligned: return "misaligned address";
    case ReportKind::kOutsideShared: return "outside shared memory";
    case ReportKind::kUnwaitedCopy: return "unwaited copy";
    case ReportKind::kException: return "exception";
  }
  return "?";
}

std::vector<Report> run(const Launch& launch) {
  require_launchable(launch);
  assert_that(!inside_kernel(), "a kernel must not launch another kernel");
  const std::uint64_t row_count = std::uint64_t{launch.grid.x} * launch.grid.y;
  const std::uint64_t block_count = row_count * launch.grid.z;
  const BlockOrder order(launch.options, block_count);
  const unsigned thread_count = launch.options.thread_count > 0 ? static_cast<unsigned>(launch.options.thread_count)
                                                                : std::max(1u, std::thread::hardware_concurrency());
  Progress progress;
  run_with_helpers(static_cast<int>(std::min<std::uint64_t>(thread_count, block_count)) - 1, [&] {
    try {
      work_on(launch, block_count, order, progress);
    } catch (...) {
      std::lock_guard lock(progress.mutex);
      progress.failure = std::current_exception();
      progress.stopped = true;
    }
  });
  if (progress.failure) std::rethrow_exception(progress.failure);
  std::sort(progress.reports.begin(), progress.reports.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Report> reports;
  for (auto& [n, report] : progress.reports) reports.push_back(std::move(report));
  return reports;
}

void throw_if_any(const std::vector<Report>& reports) {
  if (reports.empty()) return;
  throw Error(std::string("kernel on the host runtime: ") + to_string(reports.front().kind) + ": " +
              reports.front().text);
}

}  // namespace ringproof::simt::host
