#pragma once

// Split-KV attention ("flash decoding", Dao, Haziza, Massa, Sizov 2023): few query rows, many keys. The keys are cut
// into splits, each worked by a block of its own, so that one row keeps many multiprocessors busy; a second kernel
// combines what they leave. The query heads of a kv head lie in one tile of rows, so that K and V are read once for all
// of them.
//
// Everything is counted in base two, and the maximum is rounded up to an integer. With t_j = log2(e) S_j and, over the
// keys a split has met, m = ceil(max t_j), a split keeps
//   l = sum 2^(t_j - m),   o = sum 2^(t_j - m) v_j                     in fp32, one pair (m, l) and one o per row.
// A new maximum m' rescales both by 2^(m - m'), an integer power of two: exactly. Combining does the same once more,
//   M = max m_s,   l = sum l_s 2^(m_s - M),   O = sum o_s 2^(m_s - M) / l,   lse = M ln 2 + ln l,
// so that beside the sums nothing is rounded on the way, and splitting costs no accuracy: no merge of weights, nothing
// to declare. O is rounded once to storage. A sink z is one more key without a value: M covers log2(e) z, and l takes
// 2^(log2(e) z - M).
//
// A split in which a row sees no key leaves l = 0 and no o; 0 is said of nothing else, since the key of the maximum
// adds more than 1/2 and NaN is not 0. If all are empty and there is no sink, l = 0 gives lse = -inf, and O = 0.

#include <cstdint>

#include "gpu/flash_split_kv.h"
#include "gpu/kernel_mask.cuh"
#include "gpu/kernel_numbers.cuh"
#include "gpu/simt/simt.h"
#include "reference/spec/error.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

constexpr int kThreadsOfSplit = 128;
constexpr int kLanesOfSplitRow = 8;  // that share a row: in S and P columns 4 lane .. 4 lane + 3 of every 32, so in O
constexpr int kRowsOfSplit = kThreadsOfSplit / kLanesOfSplitRow;

/// Shared memory for head dims up to D. K lies transposed, so that the threads of a row read neighbours.
template <int D>
struct SplitTiles {
  static constexpr int kTileKv = D <= 64 ? 64 : 32;
  float q[kRowsOfSplit][D + 4];
  float k[D][kTileKv + 4];
  float v[kTileKv][D + 4];
  float p[kRowsOfSplit][kTileKv + 4];
};

/// How one launch cuts its work. Rows are numbered (batch, kv head, query row, head of the group), the last fastest.
struct SplitPlan {
  std::int64_t splits, keys_per_split;
  std::int64_t group, rows_per_head_kv, tiles_per_head_kv;
  float* partial;  ///< m and l of row r and split s at 2 (r splits + s), then all o, head_dim_v apart
  std::int64_t o_begin;
  float scale, softcap, softcap_inverse;  ///< to base two: t = scale q.k, or softcap tanh(softcap_inverse q.k)
};

/// 2^exponent for an integer exponent of at most 0, exactly; 0 below the range, and for NaN.
__device__ inline float power_of_two(float exponent) {
  return exponent > -200.0f ? ldexpf(1.0f, static_cast<int>(exponent)) : 0.0f;
}

/// The j-th of a thread's columns.
__device__ constexpr int column_of_split(int lane, int j) { return 32 * (j / 4) + 4 * lane + j % 4; }

/// The tile's rows of q, converted to fp32; rows past the end become 0.
template <class T, int D>
__device__ void load_queries(SplitTiles<D>& tiles, const FlashParams& prm, const SplitPlan& plan, const T* q,
                             std::int64_t row0) {
  for (int i = static_cast<int>(threadIdx.x); i < kRowsOfSplit * D; i += kThreadsOfSplit) {
    const int r = i / D, d = i % D;
    if (d >= prm.head_dim_qk) continue;
    const std::int64_t row = row0 + r, head = row % plan.group;
    const bool exists = row < plan.rows_per_head_kv;
    tiles.q[r][d] =
        exists ? widened(q[head * prm.q_stride[1] + row / plan.group * prm.q_stride[2] + d * prm.q_stride[3]]) : 0.0f;
  }
}

/// Keys and values key0 .. of one kv head, converted to fp32; what lies past the end of the tensors becomes 0.
template <class T, int D>
__device__ void load_keys(SplitTiles<D>& tiles, const FlashParams& prm, const T* k, const T* v, std::int64_t key0) {
  for (int i = static_cast<int>(threadIdx.x); i < SplitTiles<D>::kTileKv * D; i += kThreadsOfSplit) {
    const int c = i / D, d = i % D;
    const std::int64_t key = key0 + c;
    const bool exists = key < prm.seqlen_kv;
    if (d < prm.head_dim_qk) tiles.k[d][c] = exists ? widened(k[key * prm.k_stride[2] + d * prm.k_stride[3]]) : 0.0f;
    const bool is_value = exists && d < prm.head_dim_v;
    tiles.v[c][d] = is_value ? widened(v[key * prm.v_stride[2] + d * prm.v_stride[3]]) : 0.0f;
  }
}

/// One block per split and tile of rows, along x: tiles of rows fastest, then splits, kv heads, batches.
template <class T, int D>
__global__ void __launch_bounds__(kThreadsOfSplit) flash_split_kv_kernel(const FlashParams prm, const SplitPlan plan) {
  constexpr int kTileKv = SplitTiles<D>::kTileKv;
  constexpr int kScores = kTileKv / kLanesOfSplitRow, kOutputs = D / kLanesOfSplitRow;
  SplitTiles<D>& tiles = *reinterpret_cast<SplitTiles<D>*>(dynamic_smem());

  const std::int64_t row0 = blockIdx.x % plan.tiles_per_head_kv * kRowsOfSplit;
  const std::int64_t split = blockIdx.x / plan.tiles_per_head_kv % plan.splits;
  const std::int64_t head_of_all = blockIdx.x / plan.tiles_per_head_kv / plan.splits;
  const std::int64_t head_kv = head_of_all % prm.heads_kv, batch = head_of_all / prm.heads_kv;
  const T* q = static_cast<const T*>(prm.q) + batch * prm.q_stride[0] + head_kv * plan.group * prm.q_stride[1];
  const T* k = static_cast<const T*>(prm.k) + batch * prm.k_stride[0] + head_kv * prm.k_stride[1];
  const T* v = static_cast<const T*>(prm.v) + batch * prm.v_stride[0] + head_kv * prm.v_stride[1];

  const int lane = static_cast<int>(threadIdx.x) % kLanesOfSplitRow;
  const int row_in_tile = static_cast<int>(threadIdx.x) / kLanesOfSplitRow;
  const std::int64_t row = row0 + row_in_tile, query = row / plan.group;
  const std::int64_t key_begin = split * plan.keys_per_split;
  const std::int64_t key_last = min(key_begin + plan.keys_per_split, prm.seqlen_kv) - 1;

  KeySpan span = span_of_row(prm, query);
  span = {max(span.first, key_begin), min(span.last, key_last)};
  float m = -INFINITY, l = 0.0f, o[kOutputs] = {};
  load_queries(tiles, prm, plan, q, row0);

  const std::int64_t query_begin = row0 / plan.group;
  const std::int64_t query_end = (min(row0 + kRowsOfSplit, plan.rows_per_head_kv) - 1) / plan.group + 1;
  const KeySpan all = span_of_rows(prm, query_begin, query_end);
  const std::int64_t last = min(all.last, key_last);
  for (std::int64_t key0 = max(all.first, key_begin) / kTileKv * kTileKv; key0 <= last; key0 += kTileKv) {
    if (sight_of(prm, query_begin, query_end, key0, key0 + kTileKv) == Sight::kNone) continue;
    __syncthreads();  // everyone is done with the previous keys
    load_keys(tiles, prm, k, v, key0);
    __syncthreads();  // the queries and these keys are complete

    float t[kScores] = {};
    for (int d = 0; d < prm.head_dim_qk; ++d) {
      const float x = tiles.q[row_in_tile][d];
#pragma unroll
      for (int j = 0; j < kScores; j += 4) add_multiple(&t[j], x, &tiles.k[d][column_of_split(lane, j)]);
    }

    const std::uint64_t bits = visible_bits<kTileKv>(prm, span, query, key0);
    float largest = -INFINITY;
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      t[j] = prm.softcap > 0 ? plan.softcap * tanhf(t[j] * plan.softcap_inverse) : t[j] * plan.scale;
      if (!(bits >> column_of_split(lane, j) & 1)) t[j] = -INFINITY;
      largest = larger(largest, t[j]);
    }
    for (int w = kLanesOfSplitRow / 2; w > 0; w /= 2) largest = larger(largest, __shfl_xor_sync(~0u, largest, w));
    const float m_new = larger(m, ceilf(largest));

    // A row that has seen nothing yet has m = -inf, and -inf - (-inf) would be NaN.
    const float base = m_new == -INFINITY ? 0.0f : m_new;
    const float rescale = power_of_two(m - base);
    m = m_new;
    l *= rescale;
#pragma unroll
    for (int j = 0; j < kOutputs; ++j) o[j] *= rescale;
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      const float p = exp2f(t[j] - base);
      l += p;
      tiles.p[row_in_tile][column_of_split(lane, j)] = p;
    }
    __syncwarp();  // P of a row is written and read by the same warp
    for (int c = 0; c < kTileKv; ++c) {
      if (!(bits >> c & 1)) continue;  // not 0 x v: v may be NaN
      const float p = tiles.p[row_in_tile][c];
#pragma unroll
      for (int j = 0; j < kOutputs; j += 4) add_multiple(&o[j], p, &tiles.v[c][column_of_split(lane, j)]);
    }
  }

  for (int w = kLanesOfSplitRow / 2; w > 0; w /= 2) l += __shfl_xor_sync(~0u, l, w);
  if (row >= plan.rows_per_head_kv) return;
  const std::int64_t part = (head_of_all * plan.rows_per_head_kv + row) * plan.splits + split;
  if (lane == 0) {
    plan.partial[2 * part] = m;
    plan.partial[2 * part + 1] = l;
  }
  if (l == 0.0f) return;
  for (int j = 0; j < kOutputs; ++j) {
    const int c = column_of_split(lane, j);
    if (c < prm.head_dim_v) plan.partial[plan.o_begin + part * prm.head_dim_v + c] = o[j];
  }
}

/// One warp per row combines its splits.
template <class Out>
__global__ void __launch_bounds__(kThreadsOfSplit) combine_splits_kernel(const FlashParams prm, const SplitPlan plan) {
  constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;
  const std::int64_t row_of_all = std::int64_t{blockIdx.x} * (kThreadsOfSplit / 32) + threadIdx.x / 32;
  const std::int64_t row = row_of_all % plan.rows_per_head_kv, head_of_all = row_of_all / plan.rows_per_head_kv;
  const std::int64_t batch = head_of_all / prm.heads_kv, query = row / plan.group;
  const std::int64_t head = head_of_all % prm.heads_kv * plan.group + row % plan.group;
  if (batch >= prm.batch) return;
  const float* const m_and_l = plan.partial + 2 * row_of_all * plan.splits;
  const float* const o = plan.partial + plan.o_begin + row_of_all * plan.splits * prm.head_dim_v;

  const float sink = prm.sink != nullptr ? prm.sink[head] * kLog2E : -INFINITY;
  float m = ceilf(sink);
  for (std::int64_t split = 0; split < plan.splits; ++split) {
    if (m_and_l[2 * split + 1] != 0.0f) m = larger(m, m_and_l[2 * split]);
  }
  const float base = m == -INFINITY ? 0.0f : m;
  float l = exp2f(sink - base);
  for (std::int64_t split = 0; split < plan.splits; ++split) {
    const float l_split = m_and_l[2 * split + 1];
    if (l_split != 0.0f) l += l_split * power_of_two(m_and_l[2 * split] - base);
  }

  Out* const out = static_cast<Out*>(prm.out) + batch * prm.out_stride[0] + head * prm.out_stride[1];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (std::int64_t c = lane; c < prm.head_dim_v; c += 32) {
    float sum = 0.0f;
    for (std::int64_t split = 0; split < plan.splits; ++split) {
      if (m_and_l[2 * split + 1] == 0.0f) continue;  // wrote no o
      sum += o[split * prm.head_dim_v + c] * power_of_two(m_and_l[2 * split] - base);
    }
    out[query * prm.out_stride[2] + c * prm.out_stride[3]] = narrowed<Out>(l == 0.0f ? 0.0f : sum / l);
  }
  if (lane == 0 && prm.lse != nullptr) {
    float* const lse = static_cast<float*>(prm.lse) + batch * prm.lse_stride[0] + head * prm.lse_stride[1];
    lse[query * prm.lse_stride[2]] = fmaf(base, kLn2, logf(l));
  }
}

/// Starts both kernels; the first for head dims padded up to D.
template <class T, int D>
void launch_flash_split_kv_padded(const FlashParams& prm, SplitPlan plan, void* stream) {
  constexpr std::int64_t kTileKv = SplitTiles<D>::kTileKv;
  plan.keys_per_split = ((prm.seqlen_kv + plan.splits - 1) / plan.splits + kTileKv - 1) / kTileKv * kTileKv;
  const std::int64_t heads_kv = prm.batch * prm.heads_kv;
  const std::int64_t blocks = plan.tiles_per_head_kv * plan.splits * heads_kv;
  const std::int64_t rows = plan.rows_per_head_kv * heads_kv;
  if (rows == 0) return;
  if (blocks > 2147483647) throw Error("flash_split_kv: more than 2^31 - 1 tiles of rows and splits");
  const dim3 grid(static_cast<unsigned>(blocks)), block(kThreadsOfSplit);
  launch(flash_split_kv_kernel<T, D>, grid, block, sizeof(SplitTiles<D>), stream, prm, plan);
  constexpr std::int64_t kRowsPerBlock = kThreadsOfSplit / 32;
  const dim3 grid_of_rows(static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock));
  if (prm.out_dtype == prm.dtype) {
    launch(combine_splits_kernel<T>, grid_of_rows, block, 0, stream, prm, plan);
  } else {
    launch(combine_splits_kernel<float>, grid_of_rows, block, 0, stream, prm, plan);
  }
}

template <class T>
void launch_flash_split_kv(const FlashParams& prm, Dtype dtype, void* stream) {
  constexpr double kLog2E = 1.44269504088896340736;
  const std::int64_t head_dim = max(prm.head_dim_qk, prm.head_dim_v);
  assert_that(prm.dtype == dtype && (prm.out_dtype == dtype || prm.out_dtype == Dtype::kF32),
              "flash_split_kv takes tensors of the dtype it is named after");
  assert_that(head_dim <= kFlashSplitKvHeadDimMax, "flash_split_kv takes head dims of at most 256");
  assert_that(prm.workspace != nullptr || flash_split_kv_workspace_bytes(prm) == 0, "flash_split_kv wants a workspace");
  SplitPlan plan{};
  plan.splits = flash_split_kv_splits(prm);
  plan.group = prm.heads_q / prm.heads_kv;
  plan.rows_per_head_kv = prm.seqlen_q * plan.group;
  plan.tiles_per_head_kv = (plan.rows_per_head_kv + kRowsOfSplit - 1) / kRowsOfSplit;
  plan.partial = static_cast<float*>(prm.workspace);
  plan.o_begin = 2 * prm.batch * prm.heads_q * prm.seqlen_q * plan.splits;
  plan.scale = static_cast<float>(prm.scale * kLog2E);
  plan.softcap = static_cast<float>(prm.softcap * kLog2E);
  plan.softcap_inverse = prm.softcap > 0 ? static_cast<float>(prm.scale / prm.softcap) : 0.0f;
  if (head_dim <= 64) {
    launch_flash_split_kv_padded<T, 64>(prm, plan, stream);
  } else if (head_dim <= 128) {
    launch_flash_split_kv_padded<T, 128>(prm, plan, stream);
  } else {
    launch_flash_split_kv_padded<T, 256>(prm, plan, stream);
  }
}

inline void launch_flash_split_kv_fp32(const FlashParams& prm, void* stream) {
  launch_flash_split_kv<float>(prm, Dtype::kF32, stream);
}
inline void launch_flash_split_kv_fp16(const FlashParams& prm, void* stream) {
  launch_flash_split_kv<fp16>(prm, Dtype::kF16, stream);
}
inline void launch_flash_split_kv_bf16(const FlashParams& prm, void* stream) {
  launch_flash_split_kv<bf16>(prm, Dtype::kBf16, stream);
}

}  // namespace ringproof::SIMT_BACKEND
