#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "reference/spec/arithmetic.h"
#include "reference/spec/problem.h"
#include "reference/spec/rank_report.h"
#include "reference/spec/tensor.h"

namespace ringproof {

/// Bits of Description::features; the values are those of the plug-in ABI.
enum Feature : std::uint32_t {
  kGroupedHeads = 1u << 0,
  kSoftcap = 1u << 1,
  kSink = 1u << 2,
  kArbitraryStrides = 1u << 3,
  kWritesLse = 1u << 4,
  kUnequalHeadDims = 1u << 5,
  kForwardDeterministic = 1u << 6,
  kWantsDeviceMemory = 1u << 7,
  kBackwardDeterministic = 1u << 8,
  kNanSafeUnseen = 1u << 9,      ///< NaN in slots no row sees changes nothing
  kNanSafeHidden = 1u << 10,     ///< NaN in slots this row does not see changes nothing
  kEmptyRowsDefined = 1u << 11,  ///< empty rows are O = 0, lse = -inf
  kNonPositiveScale = 1u << 12,  ///< softmax_scale <= 0
  kWritesSinkGradient = 1u << 13,
  kLseLeavesSinkOut = 1u << 14,
  kBatchInvariant = 1u << 15,
  kWantsBshd = 1u << 16,  ///< without kArbitraryStrides: contiguous BSHD instead of BHSD
};

/// What a candidate supports, claims and declares, for one dtype and direction: the C++ twin of
/// rp_description. Bit n of a set is the enum value n. A hybrid needs the bits of head_split and of its ring.
struct Description {
  std::uint32_t dtypes = 0, masks = 0, directions = 1, features = 0, schedules = 1;
  std::int32_t head_dim_multiple = 0;             ///< 0 any
  std::int64_t head_dim_max = 0, seqlen_max = 0;  ///< 0 no limit
  Arithmetic arithmetic;

  bool has(Feature feature) const { return (features & feature) != 0; }
};

template <class Enum>
constexpr std::uint32_t bit_of(Enum value) {
  return 1u << static_cast<std::uint32_t>(value);
}

/// The values of rp_status.
enum class Status : std::int32_t { kOk = 0, kUnsupported = 1, kError = 2 };

/// Computes attention: reads q, k, v and writes out and lse through their strides. lse may be null.
/// Everything is allocated by the caller. `stream` is a cudaStream_t or null. Throws Error when its
/// environment fails.
using Forward = std::function<Status(const Problem&, const TensorView& q, const TensorView& k, const TensorView& v,
                                     const TensorView& out, const TensorView* lse, void* stream)>;

/// Gradients: reads q, k, v, out, lse, d_out and writes d_q, d_k, d_v and, where not null, d_sink. Else as Forward.
using Backward =
    std::function<Status(const Problem&, const TensorView& q, const TensorView& k, const TensorView& v,
                         const TensorView& out, const TensorView& lse, const TensorView& d_out, const TensorView& d_q,
                         const TensorView& d_k, const TensorView& d_v, const TensorView* d_sink, void* stream)>;

/// Memory in which tensors of a call lie and which another process can map: `bytes` of an open file, from its begin.
struct SharedRegion {
  std::uint64_t id;  ///< another for every region of this process
  int descriptor;
  std::byte* begin;        ///< where it is mapped here
  std::size_t bytes;       ///< sparse, maybe terabytes
  std::size_t bytes_open;  ///< nobody may touch what lies behind
  bool is_output;          ///< holds what the candidate writes; else it may only read
  int rank = 0;            ///< whose tensor it holds, where a call has several ranks
};

/// What runs on one rank: `forward` is bound to that rank's place in the communicator.
using RankBody = std::function<void(int rank, const Forward& forward)>;

/// Anything that computes attention: built-in kernels, rings, and later plug-ins.
struct Candidate {
  std::string name;  ///< kernel and dtype (`flash_forward_fp32`), `ring:<local step>` for attention over ranks
  std::string not_run_reason;  ///< why it cannot run on this machine ("no CUDA device"); empty: it can
  /// With Dtype::kDefault: what is supported. With a storage dtype: its Arithmetic too.
  std::function<Description(Dtype asked, Direction direction)> describe;
  Forward forward;
  /// What the latest call of `forward` was seen to do wrong where the judge cannot look (memory of a device), a
  /// sentence each: faults of structure. Empty function: the caller's buffers are all there is.
  std::function<std::vector<std::string>()> structure_faults{};
  /// For a candidate that runs in another process (empty otherwise): told before every call which memory the call's
  /// tensors lie in. Memory not named any more is gone.
  std::function<void(const std::vector<SharedRegion>& regions)> share{};
  /// For a candidate with a process of its own (empty otherwise): ends that process, so that the next call finds
  /// nothing of earlier ones.
  std::function<void()> forget{};
  Backward backward;  ///< empty: forward only. Not judged by this version (a Case that asks for it is refused)
  /// For attention over ranks (empty otherwise): starts the ranks, calls `body` on each, concurrently, and
  /// returns when all have ended. An exception of any rank ends the others and is thrown here as Error,
  /// naming the rank.
  std::function<void(const Topology& topology, const RankBody& body)> on_ranks;
  /// What each rank did in the latest call of on_ranks that returned, and what the candidate says it does: a claim,
  /// which the judge holds it to. Empty function: it claims nothing of the kind.
  std::function<std::vector<RankReport>()> rank_reports{};
};

/// Why `description` does not cover this problem, as a short phrase ("mask window", "bf16", "schedule
/// zigzag"); empty when it does. Such Cases are *unsupported by declaration*: shown and harmless.
std::string unsupported_reason(const Description& description, const Problem& problem);

}  // namespace ringproof
