// Hidden scores are a large finite number instead of -inf, so that a row that sees nothing averages V over all keys and
// has an lse of its own: what JAX computes. Not claimed to define empty rows.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct MeanOfV {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    Running<T> state(answer.out.size());
    if (!row.keys.empty()) {
      for (std::size_t at = 0; at < row.keys.size(); at += 16) add_tile(row, tile_of(row.keys, at, 16), state);
      finish(state, answer);
      return;
    }
    const auto count = static_cast<T>(row.problem.seqlen_kv);
    for (std::int64_t key = 0; key < row.problem.seqlen_kv; ++key) {
      for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] += row.v.row(key)[c] / count;
    }
    answer.lse = T{-1e30f} + std::log(count);
  }
};

}  // namespace

Candidate empty_rows_mean_of_v() {
  return row_candidate("empty_rows_mean_of_v", {.not_claimed = kEmptyRowsDefined, .asks_empty_rows = true}, MeanOfV{});
}

}  // namespace ringproof::correct
