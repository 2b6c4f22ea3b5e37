// Tiles of keys in an order drawn from the row's place among all rows: neither ascending nor descending, and another
// where its batch element stands alone, and so declared.

#include "property_tests/correct/kernel.h"
#include "reference/spec/inputs.h"

namespace ringproof::correct {
namespace {

struct Shuffled {
  template <class T>
  void operator()(const Row<T>& row, Answer<T>& answer) const {
    std::vector<std::int64_t> order(row.keys.begin(), row.keys.end());
    const auto draw = [&](std::int64_t key) { return hashed_bits(7, TensorRole::kK, row.place * 65537 + key, 0); };
    std::sort(order.begin(), order.end(),
              [&](std::int64_t one, std::int64_t other) { return draw(one) < draw(other); });
    Running<T> state(answer.out.size());
    for (std::size_t at = 0; at < order.size(); at += 16) add_tile(row, tile_of(order, at, 16), state);
    finish(state, answer);
  }
};

Arithmetic arithmetic(Dtype) {
  Arithmetic declared;
  declared.key_order = KeyOrder::kAnyOrder;
  return declared;
}

}  // namespace

Candidate random_key_order() {
  return row_candidate("random_key_order", {.not_claimed = kBatchInvariant, .arithmetic = arithmetic}, Shuffled{});
}

}  // namespace ringproof::correct
