// The list. One more kernel is one more file in this folder and one more line here.

#include "property_tests/correct/unusual.h"

#include "property_tests/correct/kernel.h"

#define RINGPROOF_EACH_KERNEL(X) \
  X(reversed_key_order)          \
  X(random_key_order)            \
  X(any_tile_size)               \
  X(split_kv_empty_splits)       \
  X(lazy_rescale)                \
  X(exp2_scaled)                 \
  X(cubic_exp2)                  \
  X(fma_everywhere)              \
  X(wide_p)                      \
  X(kahan_sums)                  \
  X(pairwise_sums)               \
  X(two_pass_softmax)            \
  X(p_normalised)                \
  X(l_sums_cast_p)               \
  X(double_rounded_once)         \
  X(truncating_accumulator)      \
  X(flush_to_zero)               \
  X(lerp_merge)                  \
  X(log_sigmoid_merge)           \
  X(transposed_layout)           \
  X(hidden_nan_leaks)            \
  X(empty_rows_mean_of_v)        \
  X(lse_inf_for_nan_row)         \
  X(no_lse)

// The same for kernels under a declaration that blinds the judge.
#define RINGPROOF_EACH_LOOSE_KERNEL(X) X(exp_declared_coarse)

namespace ringproof {
namespace correct {

#define RINGPROOF_DECLARE(name) Candidate name();
RINGPROOF_EACH_KERNEL(RINGPROOF_DECLARE)
RINGPROOF_EACH_LOOSE_KERNEL(RINGPROOF_DECLARE)
Candidate tf32_operands();
#undef RINGPROOF_DECLARE

}  // namespace correct

#define RINGPROOF_CALL(name) correct::name(),
std::vector<Candidate> unusual_candidates() { return {RINGPROOF_EACH_KERNEL(RINGPROOF_CALL)}; }

std::vector<Candidate> loosely_declared_candidates() { return {RINGPROOF_EACH_LOOSE_KERNEL(RINGPROOF_CALL)}; }
#undef RINGPROOF_CALL

Candidate tf32_candidate() { return correct::tf32_operands(); }

}  // namespace ringproof
