#pragma once

#include <vector>

#include "reference/oracle/attention_forward.h"
#include "reference/spec/arithmetic.h"
#include "reference/spec/case.h"

namespace ringproof {

/// Absolute error bounds, dense, in the order of shape_out() and shape_lse(). +inf where nothing can be
/// promised (such elements are *not judged*); never clamped. Empty rows have bound 0.
struct Bounds {
  std::vector<double> out, lse;
};

/// The deterministic bound of a candidate that declares `arithmetic` (resolved): what is left between got and
/// the exact answer, plus the oracle's own error. walsh_probe inputs have their own, sharper bound
/// (bound_walsh.h) where it holds.
Bounds bound_forward(const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want);

/// One row of what the bound is made of: errors relative to what they multiply. Exposed for the other bound
/// files.
struct RowErrors {
  double weight_rms;      ///< sqrt(sum p A^2): common to numerator and denominator, multiplies sqrt(sum p (v - O)^2)
  double weight_mean;     ///< sum p A
  double weight_max;      ///< max A
  double weight_sum_min;  ///< G: least value of sum p (1 + a)
  double numerator;       ///< B: numerator only, multiplies sum p (1 + A) |v|
  double denominator;     ///< C: denominator only, multiplies |O|
  double underflow;       ///< multiplies sum |v|
  double merge_weight;    ///< relative error of merge weights and partials, multiplies sum p |v|
  double merge_largest;   ///< merges, multiplies max |v|
  double lse_merge;       ///< added to lse
  double absolute;        ///< added to O: what operations lose below the normal range, and partials' rounding there
};

/// The errors of one row. `merges` counts those of the topology and the declared ones.
RowErrors row_errors(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row);

/// Errors of merging partials (R1): `weight` multiplies sum p |v|, `largest` max |v|, `lse` is absolute on lse.
struct MergeErrors {
  double weight, largest, lse;
};
MergeErrors merge_errors(const Arithmetic& arithmetic, std::int64_t merges, const RowScalars& row);

/// Merges a row goes through: declared and those of the topology.
std::int64_t merges_of_row(const Problem& problem, const Arithmetic& arithmetic);

/// F3: `before` (error before the last division and rounding) carried through both, at magnitude |want|.
double round_out(const Arithmetic& arithmetic, Dtype out, double want, double before);

/// The factor that makes sums evaluated in double, rounded to nearest, upper bounds of their exact values.
double rounding_up(std::int64_t terms);

}  // namespace ringproof
