// Mutants and many correct kernels declare the same Arithmetic, and a search for the least effect asks one declaration
// dozens of times: the bounds cost more than holding an answer to them.

#include "reference/judge/limits.h"

#include <algorithm>

#include "reference/judge/bound_probabilistic.h"
#include "reference/judge/independent.h"
#include "reference/judge/noise.h"

namespace ringproof {

Limits limits_of(const Reference& reference, const Arithmetic& arithmetic, std::int64_t tensors_in_run) {
  const ForwardAnswer& want = reference.want;
  const Problem& problem = reference.c.problem;
  const auto columns = static_cast<std::size_t>(problem.head_dim_v);
  Limits limits{arithmetic};
  limits.bounds = bound_forward(reference.c, arithmetic, want);
  limits.probabilistic = bound_probabilistic(reference.c, arithmetic, want, limits.bounds, tensors_in_run);
  limits.promised.resize(want.out.value.size());
  for (std::size_t at = 0; at < limits.promised.size(); ++at) {
    limits.promised[at] = promises_something(reference, at, limits.bounds.out[at]);
  }
  // Zeros and numbers that may be flushed are what special is made of.
  if (!reference.inputs_with_special) limits.zeros = zero_control(reference, limits.bounds, {});
  limits.is_independent = is_independent(reference.c, arithmetic);
  limits.rows_apart = rows_drawn_apart(reference, limits.bounds);
  limits.sigma_knows.resize(want.lse.value.size());
  limits.variance.resize(want.out.value.size());
  for (const std::size_t row : limits.rows_apart) {
    limits.sigma_knows[row] = sigma_knows(problem, arithmetic, want.statistics.rows[row]);
    for (std::size_t at = row * columns; at < (row + 1) * columns; ++at) {
      limits.variance[at] = sigma_squared(problem, arithmetic, want, row, at);
    }
  }
  return limits;
}

const Limits& SharedLimits::of(const Arithmetic& arithmetic, std::int64_t tensors_in_run) {
  Entry* entry = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& one) {
      return one.arithmetic == arithmetic && one.tensors_in_run == tensors_in_run;
    });
    entry = found != entries_.end() ? &*found : &entries_.emplace_back(arithmetic, tensors_in_run);
  }
  std::call_once(entry->is_made, [&] { entry->limits = limits_of(reference_, arithmetic, tensors_in_run); });
  return entry->limits;
}

}  // namespace ringproof
