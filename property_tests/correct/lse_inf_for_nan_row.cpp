// lse is +inf where the row sum is 0 or NaN, as in FlashAttention-2: allowed for a NaN row, and not claimed for an
// empty one.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct InfForNan {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    Running<T> state(answer.out.size());
    for (std::size_t at = 0; at < row.keys.size(); at += 16) add_tile(row, tile_of(row.keys, at, 16), state);
    const bool no_sum = state.l == 0 || std::isnan(state.l);
    const T inverse = no_sum ? T{1} : T{1} / state.l;
    for (std::size_t c = 0; c < answer.out.size(); ++c) answer.out[c] = state.o[c] * inverse;
    answer.lse = no_sum ? std::numeric_limits<T>::infinity() : state.m + std::log(state.l);
  }
};

}  // namespace

Candidate lse_inf_for_nan_row() {
  return row_candidate("lse_inf_for_nan_row", {.not_claimed = kEmptyRowsDefined, .asks_empty_rows = true}, InfForNan{});
}

}  // namespace ringproof::correct
