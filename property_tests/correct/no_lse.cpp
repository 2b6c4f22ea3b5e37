// Writes no lse and does not say it would.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct NoLse {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    Running<T> state(answer.out.size());
    for (std::size_t at = 0; at < row.keys.size(); at += 32) add_tile(row, tile_of(row.keys, at, 32), state);
    finish(state, answer);
  }
};

}  // namespace

Candidate no_lse() { return row_candidate("no_lse", {.not_claimed = kWritesLse}, NoLse{}); }

}  // namespace ringproof::correct
