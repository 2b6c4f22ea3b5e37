// The oracle's partial attention, as it is: fp64 inside and out.

#include "distributed/double_step.h"

#include "reference/oracle/partial_attention.h"
#include "reference/spec/candidate.h"

namespace ringproof {

LocalStep double_step() {
  LocalStep step;
  step.name = "double";
  step.dtypes = bit_of(Dtype::kF64) | bit_of(Dtype::kF32) | bit_of(Dtype::kF16) | bit_of(Dtype::kBf16);
  step.takes_blocks = step.takes_softcap = step.takes_sink = true;
  step.arithmetic = [](Dtype) {
    Arithmetic arithmetic;
    arithmetic.score_dtype = Dtype::kF64;
    arithmetic.p_dtype = Dtype::kF64;
    arithmetic.accumulator_dtype = Dtype::kF64;
    arithmetic.partial_dtype = Dtype::kF64;
    arithmetic.exp_error_relative = resolve({}, Dtype::kF64).exp_error_relative;
    return arithmetic;
  };
  step.run = [](const LocalProblem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                const TensorView& out, const TensorView& lse, void*) { partial_attention(problem, q, k, v, out, lse); };
  return step;
}

}  // namespace ringproof
