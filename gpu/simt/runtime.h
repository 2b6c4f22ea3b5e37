#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gpu/simt/host_types.h"
#include "gpu/simt/site.h"

/// Runs the grid of one kernel launch on the CPU. Kernels see gpu/simt/host_api.h; this is what stands behind it.
///
/// One fiber per CUDA thread, one block per OS thread at a time. Threads of a block run until they wait (a barrier, a
/// warp operation) or return; nothing is preempted, so a kernel that spins on another thread's store never ends.
/// Memory is exact host memory: an access outside a buffer is what it is on the host, and AddressSanitizer sees it.
namespace ringproof::simt::host {

/// Which of the runnable threads of a block runs next, and in which order blocks are started. A correct kernel gives
/// the same bits under each.
enum class Order { kForward, kReverse, kRandom };

/// How the sums of a tensor core's mma with fp32 accumulators are rounded. A kernel is right under each.
enum class MmaNumerics {
  kSequentialFp32,  ///< products added to the accumulator in the order of k, each sum rounded to fp32
  kExactThenRound,  ///< the exact sum of the 16 products and the accumulator, rounded once, to nearest
  kHopper,          ///< all 17 terms cut to 25 fraction bits below the largest exponent, added exactly, rounded to zero
};

struct Observer;

/// How a launch is carried out. On the host the `stream` argument of launch() points to one of these, or is null for
/// the defaults, so that nothing global changes what a launch does.
struct LaunchOptions {
  Order order = Order::kForward;
  std::uint64_t seed = 0;  ///< read by Order::kRandom only
  int thread_count = 0;    ///< OS threads, the caller's included; 0 = as many as the machine has
  MmaNumerics mma = MmaNumerics::kSequentialFp32;
  /// The synchronisation at this place (__syncthreads, __syncwarp, cp_async_wait, barrier_sync, barrier_arrive) is
  /// passed as if it were not written there: fault injection. Folders do not matter. No file = none.
  Site ignored_sync;
  Observer* observer = nullptr;  ///< is told how threads are ordered; null: nobody, at no cost
};

/// What a kernel can do that CUDA forbids. Blocks stop at the first one: nothing computed after it means anything.
enum class ReportKind {
  kDeadlock,             ///< every live thread of the block waits
  kDivergentBarrier,     ///< threads of one block meet at different __syncthreads
  kPartialBarrier,       ///< some threads have returned, the others wait at a __syncthreads
  kWrongMask,            ///< a mask does not name the lane that calls; lanes wait for one another under two masks
  kExitedLane,           ///< the mask of a warp operation names a lane that returns without coming to it
  kDifferentOperations,  ///< lanes of one mask wait in different warp operations
  kInactiveSource,       ///< a shuffle reads a lane that the mask does not name
  kWrongNamedBarrier,    ///< a named barrier with an impossible id or count, two counts, or left half full at the end
  kMisaligned,           ///< an address of an ldmatrix, cp.async or atomic is not a multiple of what it needs
  kOutsideShared,        ///< ldmatrix or cp.async touch what is not the block's shared memory, or stores did so
  kUnwaitedCopy,         ///< a thread returns while cp.async copies it started are under way
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

enum class WarpOperation {
  kSync,
  kShuffle,
  kShuffleXor,
  kShuffleUp,
  kShuffleDown,
  kBallot,
  kAny,
  kAll,
  kMmaBf16,
  kMmaFp16,
  kMmaF64,
  kLdmatrixX2,
  kLdmatrixX2Trans,
  kLdmatrixX4,
  kLdmatrixX4Trans,
};

/// The number of the CUDA thread while a kernel's own code runs on this OS thread; -1 inside the calls below and
/// outside of launches.
extern constinit thread_local int thread_in_kernel_code;

/// What the running CUDA thread can ask of its block; host_api.h gives it CUDA's names. All but inside_kernel() require
/// that this code runs inside a kernel.
bool inside_kernel();
unsigned char* shared_memory();
int lane();
int thread_number();                         ///< within the block
std::span<const std::byte> running_stack();  ///< of the running thread: memory nobody else may touch
MmaNumerics mma_numerics();
/// Waits for every thread of the block.
void barrier(const Site& site);
/// Comes to named barrier `id` of `thread_count` threads; waits for the others if `waits`.
void named_barrier(int id, int thread_count, bool waits, const Site& site);
/// Waits for every lane of `mask` and returns this lane's result: for shuffles the value of lane `source`, for votes
/// one bit per lane whose value is not zero.
std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source,
                             const Site& site);
/// What all 32 lanes of a warp do together at one place (PTX's .sync.aligned): each hands over `lane_data`, the last to
/// come calls `run` with those of lanes 0 to 31.
void warp_collective(WarpOperation operation, void (*run)(void* const* lanes), void* lane_data, const Site& site);
/// ldmatrix: reports unless this lane's row, if it is one of the first `row_count`, is 16 aligned bytes of the block's
/// shared memory; tells the observer of the read.
void prepare_matrix_row(const void* row, int row_count, const Site& site);
/// cp.async: starts a copy to shared memory; from null, of zeros. Makes a group of what was started. Waits until at
/// most `groups_left` groups are under way.
void start_async_copy(void* shared, const void* global, std::size_t bytes, const Site& site);
void commit_async_copies(const Site& site);
void wait_for_async_copies(int groups_left, const Site& site);
/// Before an atomic operation: reports a misaligned address, tells the observer.
void prepare_atomic(const void* address, std::size_t bytes, const Site& site);

}  // namespace ringproof::simt::host
