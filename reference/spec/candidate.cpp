#include "reference/spec/candidate.h"

namespace ringproof {

std::string unsupported_reason(const Description& description, const Problem& problem) {
  const auto lacks = [](std::uint32_t set, auto value) { return (set & bit_of(value)) == 0; };
  if (lacks(description.dtypes, problem.dtype)) return std::string(to_string(problem.dtype));
  if (lacks(description.masks, problem.mask.kind)) return std::string("mask ") + to_string(problem.mask.kind);
  if (lacks(description.schedules, problem.topology.schedule)) {
    return std::string("schedule ") + to_string(problem.topology.schedule);
  }
  if (problem.topology.head_split_ranks > 1 && lacks(description.schedules, Schedule::kHeadSplit)) {
    return "schedule hybrid";
  }
  if (problem.heads_q != problem.heads_kv && !description.has(kGroupedHeads)) return "grouped heads";
  if (problem.head_dim_qk != problem.head_dim_v && !description.has(kUnequalHeadDims))
    return "head_dim_qk != head_dim_v";
  if (problem.softcap != 0 && !description.has(kSoftcap)) return "softcap";
  if (problem.has_sink && !description.has(kSink)) return "sink";
  if (!(problem.softmax_scale > 0) && !description.has(kNonPositiveScale)) return "scale <= 0";
  for (const std::int64_t dim : {problem.head_dim_qk, problem.head_dim_v}) {
    const bool too_large = description.head_dim_max > 0 && dim > description.head_dim_max;
    const bool unaligned = description.head_dim_multiple > 0 && dim % description.head_dim_multiple != 0;
    if (too_large || unaligned) return "head dim " + std::to_string(dim);
  }
  for (const std::int64_t length : {problem.seqlen_q, problem.seqlen_kv}) {
    if (description.seqlen_max > 0 && length > description.seqlen_max) return "length " + std::to_string(length);
  }
  return "";
}

}  // namespace ringproof
