#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <string>

#include "reference/judge/compare.h"
#include "reference/judge/session.h"

namespace ringproof {

/// Calls `candidate` on the reference's Case and compares, as a run of this Case alone. Never throws: what goes wrong
/// is evidence of a failed call. What came back is left in `kept`, where that is not null.
Evidence judge_one(const Candidate& candidate, const Reference& reference, Buffers& buffers, Got* kept = nullptr);

/// The next call of a session, in the same way; `shared` as Session::judge has it.
Evidence judge_one(Session& session, const Reference& reference, Got* kept = nullptr, SharedLimits* shared = nullptr);

/// Evidence that a Case could not be judged for `candidate`, with the reason.
Evidence failed_evidence(const std::string& candidate, const Case& c, const std::string& reason);

/// Does `work` that belongs to the judgement on one Case. An exception leaves the Case open, `what` and its message
/// saying why: that Case is inconclusive, and the others go on.
template <class Work>
void guarded(Evidence& evidence, const char* what, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    evidence.left_open.push_back(std::string(what) + ": " + error.what());
  }
}

/// The smallest Case that rejects `candidate` for the same `reason` (failing_reason) in one call, as far as `may_go_on`
/// allows: it is asked before every try. None where `c` itself, called once on its own, is not rejected for it: what
/// only a sequence of calls shows cannot be shrunk. A candidate that can forget its earlier calls does so before that
/// call and before the last, on what was found; `c` comes back where that one is not rejected. `reason` is that of a
/// rejection on `c`; `buffers` are those of the candidate's other calls.
std::optional<Case> smallest_failing(const Candidate& candidate, const Case& c, const std::string& reason,
                                     const SamplingRule& rule, int threads, Buffers& buffers,
                                     const std::function<bool()>& may_go_on);

}  // namespace ringproof
