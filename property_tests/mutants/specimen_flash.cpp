// For every row, over tiles of keys in ascending order (Milakov & Gimelshein 2018; Dao 2023), with s_j = scale
// q.k_j, or cap tanh(s_j / cap):
//
//   m' = max(m, s_j)     l <- l e^(m - m') + sum e^(s_j - m')     o <- o e^(m - m') + sum cast(e^(s_j - m')) v_j
//   at the end a sink joins as one more key without value, and O = o / l,   lse = m + ln l
//
// fp8: the descale factors of q and k join the scale, that of v the last division, which takes P's scale back too.
//
// Every step stands on a line of its own, so that a mutant can be one edit of one line.

#include "property_tests/mutants/specimen_flash.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace ringproof {
namespace {

constexpr std::int64_t kTileKv = 16;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

using TileScores = std::array<float, kTileKv>;

/// Keys first .. last; none when first > last.
struct VisibleKeys {
  std::int64_t first, last;
};

/// Of a row behind the last document: none.
VisibleKeys visible_in_document(const Problem& problem, std::int64_t row) {
  const auto documents = static_cast<std::int64_t>(problem.mask.document_lengths_q.size());
  std::int64_t document = 0;
  while (document < documents && problem.cu_seqlens_q[document + 1] <= row) ++document;
  if (document == documents) return {0, -1};
  const std::int64_t document_end = problem.cu_seqlens_kv[document + 1];
  const std::int64_t rows_behind = problem.cu_seqlens_q[document + 1] - 1 - row;
  const std::int64_t causal_last = document_end - 1 - rows_behind;
  return {problem.cu_seqlens_kv[document], problem.mask.document_causal ? causal_last : document_end - 1};
}

bool tile_is_visible(const Problem& problem, std::int64_t row, std::int64_t key) {
  const Mask& mask = problem.mask;
  if (mask.kind != MaskKind::kBlockSparse || key >= problem.seqlen_kv) return true;
  const std::int64_t tiles_kv = (problem.seqlen_kv + mask.block_kv - 1) / mask.block_kv;
  const std::int64_t tile_q = row / mask.block_q;
  const std::int64_t tile_kv = key / mask.block_kv;
  return problem.block_mask[tile_q * tiles_kv + tile_kv] != 0;
}

/// First and last key of the row; between them tiles may be hidden.
VisibleKeys visible_to(const Problem& problem, std::int64_t row) {
  const Mask& mask = problem.mask;
  const std::int64_t key_last = problem.seqlen_kv - 1;
  const std::int64_t diagonal = row + problem.seqlen_kv - problem.seqlen_q;
  VisibleKeys visible{0, key_last};
  if (mask.kind == MaskKind::kCausalTopLeft) visible.last = row;
  if (mask.kind == MaskKind::kCausalBottomRight) visible.last = diagonal;
  if (mask.kind == MaskKind::kWindow && mask.window_left >= 0) visible.first = diagonal - mask.window_left;
  if (mask.kind == MaskKind::kWindow && mask.window_right >= 0) visible.last = diagonal + mask.window_right;
  if (mask.kind == MaskKind::kDocument) visible = visible_in_document(problem, row);
  while (visible.first <= visible.last && !tile_is_visible(problem, row, visible.first)) ++visible.first;
  return {std::max<std::int64_t>(visible.first, 0), std::min(visible.last, key_last)};
}

/// One head of a tensor in fp32, zero rows behind it up to whole tiles.
struct Matrix {
  std::int64_t columns;
  std::vector<float> elements;
  const float* row(std::int64_t index) const { return elements.data() + index * columns; }
};

Matrix widened(const TensorView& tensor, std::int64_t batch, std::int64_t head) {
  const std::int64_t rows = tensor.shape[2], columns = tensor.shape[3];
  const std::int64_t rows_padded = (rows / kTileKv + 1) * kTileKv;
  Matrix matrix{columns, std::vector<float>(static_cast<std::size_t>(rows_padded * columns))};
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const double element = tensor.load(batch, head, row, column);
      matrix.elements[static_cast<std::size_t>(row * columns + column)] = static_cast<float>(element);
    }
  }
  return matrix;
}

struct Row {
  float maximum = kMinusInfinity;
  float sum = 0;
  std::vector<float> out;
};

float softcapped(const Problem& problem, float score) {
  const auto cap = static_cast<float>(problem.softcap);
  return cap == 0 ? score : cap * std::tanh(score / cap);
}

/// Scores of the keys key0 .. key0 + kTileKv - 1; -inf for those the row does not see.
TileScores scores_of(const Problem& problem, std::int64_t row, const float* q, const Matrix& k,
                     const VisibleKeys& visible, std::int64_t key0) {
  TileScores scores;
  for (std::int64_t j = 0; j < kTileKv; ++j) {
    const std::int64_t key = key0 + j;
    float product = 0;
    for (std::int64_t d = 0; d < problem.head_dim_qk; ++d) product += q[d] * k.row(key)[d];
    product *= static_cast<float>(problem.descale_q);
    product *= static_cast<float>(problem.descale_k);
    const float score = product * static_cast<float>(problem.softmax_scale);
    const float capped = softcapped(problem, score);
    const bool sees = visible.first <= key && key <= visible.last;
    scores[static_cast<std::size_t>(j)] = sees ? capped : kMinusInfinity;
    if (!tile_is_visible(problem, row, key)) scores[static_cast<std::size_t>(j)] = kMinusInfinity;
  }
  return scores;
}

void add_tile(Row& row, const TileScores& scores, const float* v, Dtype p_dtype, float p_scale) {
  const float maximum = std::max(row.maximum, *std::max_element(scores.begin(), scores.end()));
  // A NaN is no maximum, and no hidden score either.
  const bool any_nan = std::any_of(scores.begin(), scores.end(), [](float score) { return std::isnan(score); });
  if (maximum == kMinusInfinity && !any_nan) return;
  const float rescale = std::exp(row.maximum - maximum);
  row.maximum = maximum;
  row.sum *= rescale;
  for (float& o : row.out) o *= rescale;
  for (const float score : scores) {
    const float p = std::exp(score - maximum);
    row.sum += p;
    const auto p_cast = static_cast<float>(round_to(p_dtype, p * p_scale));
    for (float& o : row.out) o += p_cast * *v++;
  }
}

void add_sink(Row& row, const Problem& problem, std::int64_t head) {
  if (!problem.has_sink) return;
  const float sink = problem.sink[head];
  const float largest = std::max(row.maximum, sink);
  const float shrink = std::exp(row.maximum - largest);
  row.maximum = largest;
  for (float& o : row.out) o *= shrink;
  row.sum *= shrink;
  row.sum += std::exp(sink - largest);
}

void write(const Row& row, bool empty, float scale, const TensorView& out, const TensorView& lse, std::int64_t batch,
           std::int64_t head, std::int64_t r) {
  for (std::int64_t c = 0; c < out.shape[3]; ++c) {
    out.store(batch, head, r, c, empty ? 0.0f : row.out[static_cast<std::size_t>(c)] / row.sum * scale);
  }
  lse.store(batch, head, r, 0, empty ? kMinusInfinity : row.maximum + std::log(row.sum));
}

}  // namespace

void specimen_flash_forward(const Problem& problem, const TensorView& q, const TensorView& k, const TensorView& v,
                            const TensorView& out, const TensorView& lse) {
  const Dtype p_dtype = is_fp8(problem.dtype) ? Dtype::kF8E4m3 : problem.dtype;
  const float p_scale = is_fp8(problem.dtype) ? kPScaleOfFp8 : 1;
  const float scale_out = static_cast<float>(problem.descale_v) / p_scale;
  for (std::int64_t batch = 0; batch < problem.batch; ++batch) {
    for (std::int64_t head = 0; head < problem.heads_q; ++head) {
      const std::int64_t head_kv = head / problem.heads_per_group();
      const Matrix queries = widened(q, batch, head);
      const Matrix keys = widened(k, batch, head_kv);
      const Matrix values = widened(v, batch, head_kv);
      for (std::int64_t r = 0; r < problem.seqlen_q; ++r) {
        const VisibleKeys visible = visible_to(problem, r);
        Row row{.out = std::vector<float>(static_cast<std::size_t>(problem.head_dim_v))};
        for (std::int64_t key0 = visible.first / kTileKv * kTileKv; key0 <= visible.last; key0 += kTileKv) {
          const TileScores scores = scores_of(problem, r, queries.row(r), keys, visible, key0);
          add_tile(row, scores, values.row(key0), p_dtype, p_scale);
        }
        add_sink(row, problem, head);
        write(row, visible.first > visible.last && !problem.has_sink, scale_out, out, lse, batch, head, r);
      }
    }
  }
}

}  // namespace ringproof
