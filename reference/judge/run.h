#pragma once

#include <string>
#include <vector>

#include "reference/judge/buffers.h"
#include "reference/judge/reference.h"
#include "reference/spec/candidate.h"

namespace ringproof {

/// How a call ended.
enum class CallStatus {
  kReturned,     ///< outputs are there to be compared
  kUnsupported,  ///< outside what the candidate declares: never called
  kRefused,      ///< RP_UNSUPPORTED for a Case its description covers
  kFailed,       ///< an error, an exception, a communication failure: inconclusive
};

/// What came back from one candidate on one Case.
struct Got {
  CallStatus status;
  std::string reason;                         ///< of kUnsupported, kRefused, kFailed
  Tensor out, lse;                            ///< dense copies taken when the call returned; gathered from all ranks
  bool has_lse;                               ///< lse was asked for
  std::vector<std::string> structure_faults;  ///< one sentence each: elements unwritten, writes outside, inputs changed
  double time_ms;                             ///< of the call alone
  bool lse_leaves_sink_out = false;           ///< its lse is that of the keys alone, as declared
  Description description{};                  ///< as the candidate gave it for this call
  bool empty_rows_defined = true;             ///< it claims O = 0, lse = -inf there; else they are counted, not judged
  bool bears_hidden_nan = true;               ///< it claims that a NaN a row does not see changes nothing
  bool answers_every_row = true;              ///< else only those of a sample were written: an answer made for them
  std::vector<bool> rows_spoiled{};  ///< [batch, heads_q, seqlen_q]: see a NaN placed by nan2; empty: none does
  std::vector<RankReport> ranks{};   ///< what each rank did, where the candidate tells
  std::vector<std::string> shown{};  ///< properties it does not claim: they never change an outcome
};

/// Calls the candidate on the Case's inputs, laid out as its memory says (dense for a candidate without
/// arbitrary strides), with NaN outside the tensors and poison in hidden slots (hidden_slots.h): NaN up to the level
/// that the Case asks for and the candidate claims. Where it asks for more than is claimed, a second call with that
/// level shows what leaks. One call per rank where the topology has several. Without `asks_lse` a candidate that
/// writes lse gets none to write. What the previous call on these buffers did after its return is a fault found
/// here. Catches every exception of the candidate; a crash ends the process with one sentence and exit code 3;
/// throws nothing but a programmer's mistake.
Got run(const Candidate& candidate, const Reference& reference, Buffers& buffers, bool asks_lse = true);

}  // namespace ringproof
