#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "reference/judge/bound_forward.h"
#include "reference/judge/reference.h"
#include "reference/judge/zero_control.h"

namespace ringproof {

/// What any answer to one Case is held to under one declaration: everything of compare() that does not depend on what
/// came back. Made once, it serves every candidate that declares the same.
struct Limits {
  Arithmetic arithmetic;                ///< resolved
  Bounds bounds, probabilistic;         ///< checks 2 and 3
  std::vector<bool> promised;           ///< [out]: promises_something of the bound
  ZeroControl zeros{};                  ///< with no row left out; empty where inputs are special
  bool is_independent = false;          ///< the Case's roundings are independent draws (independent.h)
  std::vector<std::size_t> rows_apart;  ///< rows_drawn_apart
  std::vector<bool> sigma_knows;        ///< [row]: of rows_apart, those the noise figure counts (noise.cpp)
  std::vector<double> variance;         ///< [out]: sigma_squared in rows_apart, 0 elsewhere
};

/// Of a declared `arithmetic` (resolved), in a run that judges `tensors_in_run` tensors (tensors_of_run).
Limits limits_of(const Reference& reference, const Arithmetic& arithmetic, std::int64_t tensors_in_run);

/// The limits of one Case for all candidates that are judged on it, at once from several threads.
class SharedLimits {
 public:
  /// `reference` must outlive it and stay as it is.
  explicit SharedLimits(const Reference& reference) : reference_(reference) {}

  const Limits& of(const Arithmetic& arithmetic, std::int64_t tensors_in_run);
  const Reference& reference() const { return reference_; }

 private:
  struct Entry {
    Entry(const Arithmetic& declared, std::int64_t tensors) : arithmetic(declared), tensors_in_run(tensors) {}

    Arithmetic arithmetic;
    std::int64_t tensors_in_run;
    std::once_flag is_made;
    Limits limits;
  };

  const Reference& reference_;
  std::mutex mutex_;
  std::deque<Entry> entries_;  // a deque leaves what it holds in place
};

}  // namespace ringproof
