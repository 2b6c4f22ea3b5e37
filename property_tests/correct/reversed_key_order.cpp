// Tiles of 16 keys from the last to the first, and the keys of a tile so, too.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct Reversed {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    const std::vector<std::int64_t> descending(row.keys.rbegin(), row.keys.rend());
    Running<T> state(answer.out.size());
    for (std::size_t at = 0; at < descending.size(); at += 16) add_tile(row, tile_of(descending, at, 16), state);
    finish(state, answer);
  }
};

}  // namespace

Candidate reversed_key_order() { return row_candidate("reversed_key_order", {}, Reversed{}); }

}  // namespace ringproof::correct
