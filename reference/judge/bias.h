#pragma once

#include <cstdint>

#include "reference/judge/limits.h"
#include "reference/judge/residual.h"

namespace ringproof {

/// Sums over rows of N_r = sum_c error O / sigma^2 and D_r = sum_c O^2 / sigma^2.
struct BiasSums {
  std::int64_t rows = 0;
  double n = 0, d = 0, n_squared = 0, n_d = 0, d_squared = 0;
  void add(double row_n, double row_d);
  void add(const BiasSums& other);
};

/// beta = sum N / sum D: O is too large by this share of itself; NaN without rows.
double bias(const BiasSums& sums);

/// Its standard error: se^2 = R / (R - 1) sum (N_r - beta D_r)^2 / (sum D_r)^2. NaN with fewer than two rows.
double bias_error(const BiasSums& sums);

/// |beta| - 5 se: how much O surely leans.
double sure_bias(const BiasSums& sums);

/// Check 5: sure_bias <= limit, or fewer than kRowsMin (noise.h) rows.
bool bias_is_accepted(const BiasSums& sums, double limit);

/// The bias of O.
struct BiasEvidence {
  bool is_judged = false;  ///< else shown only: roundings not independent, operands, scores or P declared so coarse
                           ///< that a correct kernel may lean to one side
  BiasSums sums;
  double limit = 0;  ///< beta0 of the declared Arithmetic and the Case's most visible keys
};

/// beta0: what a correct kernel with the declared `arithmetic` (resolved) may lean by in rows of at most `keys` keys.
double bias_limit(const Arithmetic& arithmetic, std::int64_t keys);

/// Facts for check 5, of `rows`, which are among rows_drawn_apart.
BiasEvidence bias_of(const Reference& reference, const Limits& limits, const Tensor& out,
                     const std::vector<std::size_t>& rows);

}  // namespace ringproof
