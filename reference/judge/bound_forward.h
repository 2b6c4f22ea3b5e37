#pragma once

#include <vector>

#include "reference/oracle/attention_forward.h"
#include "reference/spec/arithmetic.h"
#include "reference/spec/case.h"

namespace ringproof {

/// Absolute error bounds, dense, in the order of shape_out() and shape_lse(). +inf where nothing can be
/// promised (such elements are *not judged*); never clamped. Empty rows have bound 0 (their lse only without a sink).
struct Bounds {
  std::vector<double> out, lse;
  std::vector<double> lse_keys{};  ///< of an lse that leaves the sink out; empty where there is no sink
};

/// The deterministic bound of a candidate that declares `arithmetic` (resolved): what is left between got and
/// the exact answer, plus the oracle's own error. walsh_probe inputs have their own, sharper bound
/// (bound_walsh.h) where it holds.
Bounds bound_forward(const Case& c, const Arithmetic& arithmetic, const ForwardAnswer& want);

/// One row of what the bound is made of: errors relative to what they multiply. Exposed for the other bound
/// files.
struct RowErrors {
  double weight_rms;      ///< sqrt(sum p A^2): common to numerator and denominator, multiplies sqrt(sum p (v - O)^2)
  double weight_sink;     ///< p A of the sink, multiplies |O|
  double weight_mean;     ///< sum p A, the sink included
  double weight_max;      ///< max A
  double weight_sum_min;  ///< G: least value of sum p (1 + a)
  double numerator;       ///< B: numerator only, multiplies sum p (1 + A) |v|
  double denominator;     ///< C: denominator only, multiplies |O|
  double underflow;       ///< multiplies sum |v|
  double merge_weight;    ///< relative error of merge weights and partials, multiplies sum p |v|
  double merge_largest;   ///< merges, multiplies max |v|
  double partial_alone;   ///< rounding of a row's only partial, multiplies |O|
  double lse_merge;       ///< added to lse
  double absolute;        ///< added to O: what operations lose below the normal range, and partials' rounding there
};

/// The errors of one row. `merges` counts those of the topology and the declared ones.
RowErrors row_errors(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row);

/// The same errors without those that random_errors() holds apart. What is left are no draws: exponentials and their
/// arguments (functions of what they are given), truncations, casts below the normal range, merges.
RowErrors common_errors(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row);

/// The errors of one row that are sums of many roundings to nearest, each as large as one rounding times the square
/// root of their number: in a probabilistic bound such sums cancel. Truncating accumulators, accumulators narrower than
/// fp32 and casts that may truncate (TF32) have none: 0, and common_errors holds them whole.
struct RandomErrors {
  double scores;  ///< of one weight, independent of the other keys': dot product, rounding of the score
  double cast;    ///< of one weight, in the cast of P
  double sums;    ///< of a sum over keys, relative to the sum of magnitudes
};
RandomErrors random_errors(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row);

/// The last steps of L1: a relative error `before` of the row's sum becomes an error of lse.
double bound_lse_after(const Problem& problem, const Arithmetic& arithmetic, const RowErrors& errors,
                       const RowScalars& row, double before);

/// The last steps of F1 and R1: an error `before` of O, before merging, becomes an error of the stored O.
double bound_out_after(const Arithmetic& arithmetic, Dtype out, const RowErrors& errors, double sum_p_abs_v,
                       double max_abs_v, double want, double before);

/// What casting P does to it: relative, and absolute in units of the row's largest weight.
struct CastErrors {
  double relative, absolute;
};
CastErrors cast_of_p(const Arithmetic& arithmetic);

/// Errors of merging partials (R1): `weight` multiplies sum p |v|, `largest` max |v|, `lse` is absolute on lse; `alone`
/// multiplies |O| where the only partial of a row is rounded and none is merged.
struct MergeErrors {
  double weight, largest, lse, alone;
};
MergeErrors merge_errors(const Problem& problem, const Arithmetic& arithmetic, const RowScalars& row);

/// True where partial O are rounded to fewer bits than they were summed in: merged, or passed on by a ring of one rank.
bool rounds_partials(const Problem& problem, const Arithmetic& arithmetic);

/// Merges a row goes through: declared and those of the topology.
std::int64_t merges_of_row(const Problem& problem, const Arithmetic& arithmetic);

/// F3: `before` (error before the last division and rounding) carried through both, at magnitude |want|.
double round_out(const Arithmetic& arithmetic, Dtype out, double want, double before);

/// The factor that makes sums evaluated in double, rounded to nearest, upper bounds of their exact values.
double rounding_up(std::int64_t terms);

}  // namespace ringproof
