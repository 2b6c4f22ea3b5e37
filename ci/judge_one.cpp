#include "ci/judge_one.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "reference/judge/power.h"
#include "reference/judge/properties.h"
#include "reference/judge/shrink.h"
#include "reference/judge/verify.h"

namespace ringproof {

Evidence judge_one(const Candidate& candidate, const Reference& reference, Buffers& buffers, Got* kept) {
  try {
    const Dtype dtype = reference.c.problem.dtype;
    Got got = run(candidate, reference, buffers);
    const Arithmetic& declared = got.description.arithmetic;
    Evidence evidence = compare(candidate.name, reference, resolve(declared, dtype), got);
    if (got.status == CallStatus::kReturned) {
      evidence.hidden = hidden_by_declaration(reference, declared, got.description.has(kWritesLse), tensors_of_run(1),
                                              evidence.zeros);
    }
    if (kept != nullptr) *kept = std::move(got);
    return evidence;
  } catch (const std::exception& error) {
    return failed_evidence(candidate.name, reference.c, error.what());
  }
}

Evidence judge_one(Session& session, const Reference& reference, Got* kept, SharedLimits* shared) {
  try {
    return session.judge(reference, kept, shared);
  } catch (const std::exception& error) {
    return failed_evidence(session.candidate().name, reference.c, error.what());
  }
}

Evidence failed_evidence(const std::string& candidate, const Case& c, const std::string& reason) {
  const Problem& problem = c.problem;
  Evidence evidence{candidate, to_string(c), problem.dtype, problem.mask.kind};
  evidence.head_dim_max = std::max(problem.head_dim_qk, problem.head_dim_v);
  evidence.status = CallStatus::kFailed;
  evidence.reason = reason;
  evidence.by_value.name = "out by value";
  return evidence;
}

std::optional<Case> smallest_failing(const Candidate& candidate, const Case& c, const std::string& reason,
                                     const SamplingRule& rule, int threads, Buffers& buffers,
                                     const std::function<bool()>& may_go_on) {
  const auto fails_alike = [&](const Case& tried) {
    try {
      Evidence evidence = judge_one(candidate, prepare(tried, rule, threads), buffers);
      if (reason.starts_with("property")) PropertyExaminer().examine(candidate, tried, buffers, evidence);
      return failing_reason(evidence) == reason;
    } catch (const std::exception&) {  // a neighbour whose inputs cannot be made fails in another way
      return false;
    }
  };
  const auto fails_alone = [&](const Case& tried) {
    if (candidate.forget) candidate.forget();
    return fails_alike(tried);
  };
  if (!fails_alone(c)) return std::nullopt;
  const Case smallest = shrink(c, [&](const Case& neighbour) { return may_go_on() && fails_alike(neighbour); });
  return smallest == c || fails_alone(smallest) ? smallest : c;
}

}  // namespace ringproof
