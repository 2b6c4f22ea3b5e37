#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gpu/simt/host_types.h"

/// Runs the grid of one kernel launch on the CPU. Kernels see gpu/simt/host_api.h; this is what stands behind it.
///
/// One fiber per CUDA thread, one block per OS thread at a time. Threads of a block run until they wait (a barrier, a
/// warp operation) or return; nothing is preempted, so a kernel that spins on another thread's store never ends.
/// Memory is exact host memory: an access outside a buffer is what it is on the host, and AddressSanitizer sees it.
namespace ringproof::simt::host {

/// Which of the runnable threads of a block runs next, and in which order blocks are started. A correct kernel gives
/// the same bits under each.
enum class Order { kForward, kReverse, kRandom };

/// How a launch is carried out. On the host the `stream` argument of launch() points to one of these, or is null for
/// the defaults, so that nothing global changes what a launch does.
struct LaunchOptions {
  Order order = Order::kForward;
  std::uint64_t seed = 0;   ///< read by Order::kRandom only
  int thread_count = 0;     ///< OS threads, the caller's included; 0 = as many as the machine has
};

/// A place in the kernel's source. (std::source_location is missing from clang 14 with libstdc++.)
struct Site {
  const char* file = nullptr;
  int line = 0;
  static constexpr Site current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// "flash_forward_fp32.cuh:93": the file's name without its folders.
std::string to_string(const Site& site);

/// What a kernel can do that CUDA forbids. Blocks stop at the first one: nothing computed after it means anything.
enum class ReportKind {
  kDeadlock,             ///< every live thread of the block waits
  kDivergentBarrier,     ///< threads of one block meet at different __syncthreads
  kPartialBarrier,       ///< some threads have returned, the others wait at a __syncthreads
  kWrongMask,            ///< a lane calls a warp operation whose mask does not name it, or two masks overlap
  kExitedLane,           ///< the mask of a warp operation names a lane that has returned
  kDifferentOperations,  ///< lanes of one mask wait in different warp operations
  kInactiveSource,       ///< a shuffle reads a lane that the mask does not name
  kException,            ///< a C++ exception left the kernel
};

const char* to_string(ReportKind kind);

struct Report {
  ReportKind kind;
  std::string text;  ///< block, threads, and file:line of the operations concerned
};

/// One launch, with the kernel and its arguments behind `run_thread(body)`.
struct Launch {
  dim3 grid, block;
  std::size_t smem_bytes = 0;
  LaunchOptions options;
  void (*run_thread)(const void* body) = nullptr;
  const void* body = nullptr;
};

/// Runs every block of the grid and returns what was reported, in the order in which the blocks were started; no
/// block is started after a report. An empty list is a clean launch. May be called from several OS threads at once;
/// not from inside a kernel. When a block is stopped, its other threads are abandoned where they wait: destructors of
/// their variables do not run.
///
/// Throws Error for a shape that no GPU would launch: an empty grid or block, more than 1024 threads per block (64
/// along z), more than 65,535 blocks along y or z, more than 227 KiB of shared memory.
std::vector<Report> run(const Launch& launch);

/// Throws Error with the text of the first report, if there is one.
void throw_if_any(const std::vector<Report>& reports);

enum class WarpOperation { kSync, kShuffle, kShuffleXor, kShuffleUp, kShuffleDown, kBallot, kAny, kAll };

/// What the running CUDA thread can ask of its block; host_api.h gives it CUDA's names. All but inside_kernel() require
/// that this code runs inside a kernel.
bool inside_kernel();
unsigned char* shared_memory();
int lane();
/// Waits for every thread of the block.
void barrier(const Site& site);
/// Waits for every lane of `mask` and returns this lane's result: for shuffles the value of lane `source`, for votes
/// one bit per lane whose value is not zero.
std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source,
                             const Site& site);

}  // namespace ringproof::simt::host
