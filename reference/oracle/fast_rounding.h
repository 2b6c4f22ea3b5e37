#pragma once

#include <cstdint>

#include "reference/oracle/row_statistics.h"
#include "reference/spec/problem.h"

namespace ringproof {

/// How the fast oracle (oracle/fast) groups keys: sums begin anew with each block; rises are counted and parts are cut
/// at segments of so many blocks; a row's keys are cut into at most so many parts.
inline constexpr std::int64_t kFastBlockKeys = 128;
inline constexpr std::int64_t kFastSegmentBlocks = 128;
inline constexpr std::int64_t kFastPartsMax = 32;

/// Most roundings on the way of one term into a sum over `visible_count` keys: its block of keys, the product, and for
/// every later block the rescaling and the addition.
std::int64_t fast_sum_depth(const Problem& problem, std::int64_t visible_count);

/// Most times the sums of a row are rescaled by a factor that is not 1.
std::int64_t fast_rescales(const Problem& problem, const RowScalars& row);

/// Largest relative error of one softmax weight, common to numerator and denominator (bound_fast_oracle.cpp derives
/// it).
double fast_weight_error_max(const Problem& problem, const RowScalars& row);

/// A capped score is wrong by at most so many 2^-53 of the cap, beside what its argument is wrong by
/// (bound_fast_oracle.cpp).
inline constexpr double kFastCapUlps = 10;

/// The factor by which a sum of `terms` positive products may have to be raised, each of two numbers rounded to
/// `roundoff`: 2^-24 (single precision) or 2^-8 (pairs of bf16).
double raise_of_sum(std::int64_t terms, double roundoff);

/// The factor that the statistics of a row are raised by, `roundoff` that of what they are summed from.
double raise_of_row(const Problem& problem, const RowScalars& row, double roundoff);

}  // namespace ringproof
