#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "reference/judge/compare.h"
#include "reference/judge/reference.h"
#include "reference/judge/run.h"

namespace ringproof {

/// One candidate in one process, called on Case after Case with its memory kept: faults that live in state show only so
/// (candidates.md, how the gate calls). Beside each judgement, check 6:
/// - A Case called before must return the same bits, where determinism is claimed; else it is a warning.
/// - A batch element alone must return the bits it has inside its batch, where batch invariance is claimed.
/// - Every seventh call asks for no lse, unless the recipe is one whose lse is the point.
/// - What a call writes after its return is a fault of structure, found at the next call or by end().
class Session {
 public:
  /// Of a run over `cases_in_run` Cases: the more, the wider each one's probabilistic bound (tensors_of_run).
  explicit Session(Candidate candidate, std::int64_t cases_in_run = 1)
      : candidate_(std::move(candidate)), tensors_in_run_(tensors_of_run(cases_in_run)) {}
  Session(Session&&) = default;
  Session& operator=(Session&&) = default;

  /// The next call of the sequence. Throws what compare throws. What came back is left in `kept`, where not null.
  /// `shared` holds the limits of the reference for all candidates judged on it; null: they are made anew.
  Evidence judge(const Reference& reference, Got* kept = nullptr, SharedLimits* shared = nullptr);

  /// The last call's evidence anew, with what it wrote after its return; nothing where it wrote nothing.
  std::optional<Evidence> end();

  const Candidate& candidate() const { return candidate_; }
  std::int64_t tensors_in_run() const { return tensors_in_run_; }

  /// The memory of its calls, for others of the same candidate: properties, the search for a smaller Case. It outlives
  /// them, and what they write late is found by the next.
  Buffers& buffers() { return buffers_; }

 private:
  struct Answer {
    std::string case_line;
    std::uint64_t call;
    Got got;
  };
  void hold_to_earlier(const Reference& reference, const Description& description, const Got& got, Evidence& evidence);
  void hold_to_alone(const Reference& reference, const Description& description, const Got& got, Evidence& evidence);

  Candidate candidate_;
  std::int64_t tensors_in_run_;
  Buffers buffers_;
  std::uint64_t calls_ = 0;
  std::deque<Answer> answers_;  // of the latest calls
  std::optional<Evidence> latest_;
};

}  // namespace ringproof
