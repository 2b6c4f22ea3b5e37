#pragma once

#include <span>
#include <string>
#include <vector>

#include "reference/judge/compare.h"

namespace ringproof {

/// In rising severity; merging takes the greatest.
enum class Outcome { kAccepted, kUnsupported, kInconclusive, kRejected };

constexpr Outcome worst(Outcome one, Outcome other) { return one < other ? other : one; }

/// "accepted", "unsupported", "inconclusive", "rejected".
const char* to_string(Outcome outcome);

/// A share of a bound for reading: three digits, or up to six, so that neither 0.9996 nor 1.0004 reads as 1; what is
/// nearer stays on its side of 1.
std::string share_text(double bound_used);

/// A number a report shows, whoever made it.
struct Fact {
  std::string name;
  double value;
  std::string unit;              ///< "ms", "bytes", "1" for a ratio
  std::string measured_against;  ///< what to hold it to, in words
};

/// One Case's outcome and the sentence that says why.
struct CaseVerdict {
  std::string case_line;
  Outcome outcome;
  std::string reason;  ///< "" when accepted
  /// Of a rejected Case, where somebody looked for it: the smallest Case that is rejected for the same reason.
  std::string smallest_case{};
  /// Where the residual of a rejected Case lies (attribution.h), and what else a reader should know.
  std::string attribution{};
  std::vector<std::string> warnings{};
};

/// The decision about one candidate over some Cases.
struct Verdict {
  std::string candidate;
  Outcome outcome;          ///< the worst of its judged Cases; inconclusive when nothing was judged
  std::string scope;        ///< what it speaks of: "fp32 full causal_top_left, d <= 128", and of how many rows
  std::string scope_short;  ///< for tables: "fp32, 2 masks, d <= 128"
  std::string contract;     ///< "reference contract", or "as declared: l sums the cast P, ..."
  std::int64_t count_cases = 0, count_accepted = 0, count_inconclusive = 0, count_rejected = 0;
  /// Outside the declaration: never asked, or asked where no element of the answer is defined.
  std::int64_t count_unsupported = 0;
  std::int64_t count_refused = 0;   ///< declared, and refused all the same
  std::int64_t count_properties_refused = 0;  ///< properties not asked, for a call within the declaration was refused
  std::int64_t count_elements = 0;  ///< elements of out and lse that were held to a bound
  double bound_used = 0;            ///< the largest over all Cases; a NaN counts as +inf
  double time_ms = 0;               ///< of the candidate's calls
  /// Checks 4 and 5 over all Cases where they are judged, each limit the largest of its Cases'.
  NoiseSums noise{};
  BiasSums bias{};
  double bias_limit = 0;
  /// Pooled checks that reject, by name ("pooled noise figure of out", "pooled bias of out"), and why, in one sentence.
  std::vector<std::string> failing_checks{};
  std::string reason{};
  std::vector<CaseVerdict> cases{};
  std::vector<Fact> facts{};
};

/// Share of elements that may go unjudged before a tensor's verdict is inconclusive (judgement.md).
inline constexpr double kShareNotJudgedMax = 0.01;

/// Decides one Case: rejected where any check rejects, with a sentence from each that does; inconclusive for a
/// failed call, what was left open or too many elements not judged; unsupported where it was not asked or refused, or
/// where neither contract nor declaration says what any of its elements should be: nothing was held to a bound.
CaseVerdict verify_case(const Evidence& evidence);

/// Every check that rejects this evidence, by its fixed name, in the order of judgement.md: "structure",
/// "out by value", "bound of out", "bound of lse", "probabilistic bound of out", "probabilistic bound of lse",
/// "noise figure of out", "bias of out", "determinism", "traffic",
/// "property". Where nothing came back: what was written late.
std::vector<std::string> failing_checks(const Evidence& evidence);

/// The first of failing_checks; "" for none.
std::string failing_check(const Evidence& evidence);

/// Why it is rejected, without the numbers: the first failing check and, of structure, determinism, traffic and
/// property, what kind of fault its first sentence speaks of ("structure: elements of out were never written"). Equal
/// for Cases that fail for the same reason; "" for none.
std::string failing_reason(const Evidence& evidence);

/// Decides over many: the worst outcome, counts, scope, and the checks that pool rows over Cases, each data once
/// (data_of). Requires evidence of one candidate. Over fp8 storage, or where more than half of what was judged could be
/// zeros (a warning: it is shown, not judged), a fact holds what an all-zero kernel would have passed.
Verdict verify(std::span<const Evidence> evidence, const std::string& contract);

/// The contract a description is judged under: "reference contract" when no field of its Arithmetic is looser
/// than the default and it is NaN-safe and defines empty rows, else what it departs in.
std::string contract_of(const Description& description, Dtype storage);

}  // namespace ringproof
