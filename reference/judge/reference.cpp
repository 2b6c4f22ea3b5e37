#include "reference/judge/reference.h"

#include <chrono>

namespace ringproof {

Reference prepare(const Case& c, int threads) {
  const auto start = std::chrono::steady_clock::now();
  Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  ForwardAnswer want = attention_forward(c.problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), threads);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  return {c, std::move(inputs), std::move(want), time.count()};
}

}  // namespace ringproof
