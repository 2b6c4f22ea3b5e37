// Every NaN and infinity is found once and then told to the rows of its query head or kv group. A key that no row sees
// is left out: the call overwrites it with poison (hidden_slots.h), but with alias, where nothing is overwritten.

#include "reference/judge/special_rows.h"

#include <cmath>

#include "reference/spec/visibility.h"

namespace ringproof {
namespace {

// Calls found(batch, head, token, column, value) for every element that is not finite.
template <class Found>
void for_each_special(const Tensor& tensor, const Found& found) {
  const TensorView view = tensor.view();
  const Shape& shape = view.shape;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t s = 0; s < shape[2]; ++s) {
        for (std::int64_t d = 0; d < shape[3]; ++d) {
          const double value = view.load(b, h, s, d);
          if (!std::isfinite(value)) found(b, h, s, d, value);
        }
      }
    }
  }
}

}  // namespace

Inputs without_special(const Inputs& inputs) {
  Inputs finite = inputs;
  for (const Tensor* tensor : {&finite.q, &finite.k, &finite.v}) {
    const TensorView view = tensor->view();
    for_each_special(*tensor, [&](auto b, auto h, auto s, auto d, double) { view.store(b, h, s, d, 0); });
  }
  return finite;
}

SpecialRows::SpecialRows(const Problem& problem, const Memory& memory, const Inputs& inputs)
    : columns_(problem.head_dim_v) {
  const auto rows = static_cast<std::size_t>(element_count(problem.shape_lse()));
  flags_.resize(rows);
  nan_in_column_.resize(rows * static_cast<std::size_t>(columns_));
  const auto row_of = [&](std::int64_t b, std::int64_t h, std::int64_t s) {
    return static_cast<std::size_t>((b * problem.heads_q + h) * problem.seqlen_q + s);
  };
  const Visibility visibility(problem);
  for_each_special(inputs.q, [&](auto b, auto h, auto s, auto, double value) {
    flags_[row_of(b, h, s)] |= std::isnan(value) && visibility.count(s) > 0 ? kSeesNan : kUnspecified;
  });
  // Tells every row of the key's group what seeing it does, and the others that it is there.
  const auto tell = [&](std::int64_t b, std::int64_t head_kv, std::int64_t key, const auto& seen) {
    if (!visibility.any_row_sees(key) && !memory.alias) return;
    const std::int64_t group = problem.heads_per_group();
    for (std::int64_t h = head_kv * group; h < (head_kv + 1) * group; ++h) {
      for (std::int64_t s = 0; s < problem.seqlen_q; ++s) {
        const std::size_t row = row_of(b, h, s);
        if (visibility.sees(s, key)) {
          seen(row);
        } else {
          flags_[row] |= kLiesBeside;
        }
      }
    }
  };
  for_each_special(inputs.k, [&](auto b, auto h, auto key, auto, double value) {
    tell(b, h, key, [&](std::size_t row) { flags_[row] |= std::isnan(value) ? kSeesNan : kUnspecified; });
  });
  for_each_special(inputs.v, [&](auto b, auto h, auto key, auto column, double value) {
    tell(b, h, key, [&](std::size_t row) {
      flags_[row] |= std::isnan(value) ? kSeesNanValue : kUnspecified;
      if (std::isnan(value)) nan_in_column_[row * static_cast<std::size_t>(columns_) + column] = true;
    });
  });
}

bool SpecialRows::is_nan(std::int64_t row, std::int64_t column) const {
  if (flags_.empty() || is_unspecified(row)) return false;
  return is_nan(row) || nan_in_column_[static_cast<std::size_t>(row * columns_ + column)];
}

bool SpecialRows::is_special(std::int64_t row) const {
  return !flags_.empty() && flags_[static_cast<std::size_t>(row)] != 0;
}

}  // namespace ringproof
