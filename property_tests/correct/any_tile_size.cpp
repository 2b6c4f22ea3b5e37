// Tiles of 1, 3, 17, 64 or 4,096 keys, another size from row to row: which one follows from the row's place among
// all rows, and so from its batch.

#include "property_tests/correct/kernel.h"

namespace ringproof::correct {
namespace {

struct AnyTile {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    static constexpr std::size_t kSizes[]{1, 3, 17, 64, 4096};
    const std::size_t size = kSizes[row.place % 5];
    Running<T> state(answer.out.size());
    for (std::size_t at = 0; at < row.keys.size(); at += size) add_tile(row, tile_of(row.keys, at, size), state);
    finish(state, answer);
  }
};

}  // namespace

Candidate any_tile_size() { return row_candidate("any_tile_size", {.not_claimed = kBatchInvariant}, AnyTile{}); }

}  // namespace ringproof::correct
