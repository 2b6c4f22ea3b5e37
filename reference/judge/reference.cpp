#include "reference/judge/reference.h"

#include <chrono>

namespace ringproof {

Reference prepare(const Case& c, const SamplingRule& rule, int threads) {
  const auto start = std::chrono::steady_clock::now();
  Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
  const Problem problem = with_data(c.problem, inputs);
  const bool is_sampled = wants_sampling(c, rule);
  const RowSample sample = is_sampled ? sample_rows(c, rule.rows_sampled) : RowSample{};
  ForwardAnswer want = is_sampled ? attention_forward_of_rows(problem, q, k, v, sample.rows, threads)
                                  : attention_forward(problem, q, k, v, threads);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  return {c, std::move(inputs), std::move(want), time.count(), sample.rows_drawn};
}

Reference prepare(const Case& c, int threads) { return prepare(c, all_rows(), threads); }

}  // namespace ringproof
