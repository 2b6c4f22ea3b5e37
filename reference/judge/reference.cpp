#include "reference/judge/reference.h"

#include <chrono>

#ifdef RINGPROOF_HAS_FAST_ORACLE
#include "reference/oracle/fast/fast_forward.h"
#endif

namespace ringproof {
namespace {

// By the fast oracle, which hands what it does not serve to the plain one. No rows: all of them.
ForwardAnswer answer(const Problem& problem, const Inputs& inputs, const std::vector<std::int64_t>& rows, int threads) {
  const TensorView q = inputs.q.view(), k = inputs.k.view(), v = inputs.v.view();
#ifdef RINGPROOF_HAS_FAST_ORACLE
  return fast_attention_forward_of(problem, q, k, v, rows, true, threads);
#else
  return rows.empty() ? attention_forward(problem, q, k, v, threads)
                      : attention_forward_of_rows(problem, q, k, v, rows, threads);
#endif
}

}  // namespace

Reference prepare(const Case& c, const SamplingRule& rule, int threads) {
  const auto start = std::chrono::steady_clock::now();
  Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  SpecialRows special;
  std::optional<Inputs> asked;
  if (c.inputs.kind == RecipeKind::kSpecial) {
    special = SpecialRows(c.problem, c.memory, inputs);
    asked = std::move(inputs);
    inputs = without_special(*asked);
  }
  const Problem problem = with_data(c.problem, inputs);
  const RowSample sample = wants_sampling(c, rule) ? sample_rows(c, rule.rows_sampled) : RowSample{};
  ForwardAnswer want = answer(problem, inputs, sample.rows, threads);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  return {c, std::move(inputs), std::move(want), time.count(), sample.rows_drawn, std::move(special), std::move(asked)};
}

Reference prepare(const Case& c, const Inputs& inputs, int threads) {
  return {c, inputs, answer(with_data(c.problem, inputs), inputs, {}, threads), 0};
}

Reference prepare(const Case& c, int threads) { return prepare(c, all_rows(), threads); }

}  // namespace ringproof
