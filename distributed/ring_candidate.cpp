// A Candidate around a ring: what it supports follows from the ring (masks, schedules) and from its local step
// (dtypes, head dims, arithmetic). Single is the same ring with one rank, so that there is one source for all of
// them.

#include "distributed/ring_candidate.h"

#include <memory>

#include "distributed/buffer.h"
#include "distributed/communicator_measuring.h"
#include "distributed/traffic.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

Description describe(const RingComposition& composition, Dtype asked) {
  Description description;
  description.dtypes = composition.local_step.dtypes;
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                      bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow) | bit_of(MaskKind::kDocument);
  if (composition.local_step.takes_blocks) description.masks |= bit_of(MaskKind::kBlockSparse);
  description.directions = bit_of(Direction::kForward);
  description.features = kGroupedHeads | kArbitraryStrides | kWritesLse | kUnequalHeadDims | kForwardDeterministic |
                         kEmptyRowsDefined | kNonPositiveScale | composition.claims;
  if (composition.local_step.takes_softcap) description.features |= kSoftcap;
  if (composition.local_step.takes_sink) description.features |= kSink;
  description.schedules = bit_of(Schedule::kSingle) | bit_of(Schedule::kContiguous) | bit_of(Schedule::kStriped) |
                          bit_of(Schedule::kZigzag) | bit_of(Schedule::kHeadSplit) | bit_of(Schedule::kAllGather);
  description.head_dim_max = composition.local_step.head_dim_max;
  if (asked != Dtype::kDefault) description.arithmetic = composition.local_step.arithmetic(asked);
  return description;
}

RanksForward algorithm_of(const RingComposition& composition, const Topology& topology) {
  if (topology.schedule == Schedule::kHeadSplit || topology.head_split_ranks > 1) return composition.head_split;
  return topology.schedule == Schedule::kAllGather ? composition.all_gather : composition.ring;
}

}  // namespace

Status forward_on(const RingComposition& composition, Communicator& communicator, std::uint64_t case_id,
                  const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                  const TensorView& out, const TensorView* lse, RankReport* report) {
  if (!unsupported_reason(describe(composition, Dtype::kDefault), problem).empty()) return Status::kUnsupported;
  for (const auto& [name, view] : {std::pair("q", &q), {"k", &k}, {"v", &v}, {"out", &out}, {"lse", lse}}) {
    if (view != nullptr) communicator.name_memory(memory_of(*view), name);
  }
  const RanksForward forward = algorithm_of(composition, problem.topology);
  MeasuringCommunicator measuring(communicator);
  const LocalStep counting = measuring.counting(composition.local_step);
  forward(measuring, counting, composition.parts, problem, case_id, q, k, v, out, lse);
  if (report == nullptr) return Status::kOk;
  const Arithmetic arithmetic = resolve(composition.local_step.arithmetic(problem.dtype), problem.dtype);
  *report = traffic_formula(problem, arithmetic.partial_dtype);
  measuring.report(*report);
  return Status::kOk;
}

Candidate ring_candidate(const RingComposition& composition) {
  Candidate candidate;
  candidate.name = composition.name;
  candidate.describe = [composition](Dtype asked, Direction) { return describe(composition, asked); };
  candidate.forward = [composition](const Problem& problem, const TensorView& q, const TensorView& k,
                                    const TensorView& v, const TensorView& out, const TensorView* lse, void*) {
    assert_that(problem.topology.rank_count == 1, "more than one rank runs through on_ranks");
    Status status = Status::kError;
    composition.launcher(1, [&](Communicator& communicator) {
      status = forward_on(composition, communicator, 0, problem, q, k, v, out, lse);
    });
    return status;
  };
  const auto reports = std::make_shared<std::vector<RankReport>>();
  candidate.rank_reports = [reports] { return *reports; };
  candidate.on_ranks = [composition, reports](const Topology& topology, const RankBody& body) {
    reports->assign(static_cast<std::size_t>(topology.rank_count), {});
    composition.launcher(topology.rank_count, [&](Communicator& communicator) {
      std::uint64_t calls = 0;  // the ranks make the same calls, so it names the same call on each
      body(communicator.rank(), [&](const Problem& problem, const TensorView& q, const TensorView& k,
                                    const TensorView& v, const TensorView& out, const TensorView* lse, void*) {
        RankReport& report = (*reports)[static_cast<std::size_t>(communicator.rank())];
        return forward_on(composition, communicator, ++calls, problem, q, k, v, out, lse, &report);
      });
    });
  };
  return candidate;
}

}  // namespace ringproof
