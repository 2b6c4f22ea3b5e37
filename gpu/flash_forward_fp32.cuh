#pragma once

// Flash attention forward in fp32: O = softmax(scale Q K^T + mask) V without ever storing the score matrix.
//
// One block takes a tile of query rows and walks over the key tiles in ascending order, keeping for each row i
//   m = max S_ij,   l = sum exp(S_ij - m),   o = sum exp(S_ij - m) v_j        over the visible keys j met so far.
// A key tile with a larger maximum m' rescales what is there by r = exp(m - m'):  l <- l r + ...,  o <- o r + ...
// (Milakov & Gimelshein 2018). At the end O = o / l and lse = m + ln l. The order of the loops, rows outside and keys
// inside, is FlashAttention-2's (Dao 2023). All arithmetic is fp32, products and sums rounded to nearest (nvcc
// contracts them to fma), the scores scaled once, P never rounded further.
//
// A sink is one more score of every row that has no value: the row starts with m = sink, l = 1, o = 0.
//
// What a row does not see does not touch it, NaN included: hidden scores are replaced, not multiplied by zero, and
// the products P V run over the row's own keys. What it does see gets through: no comparison hides a NaN.

#include <cstdint>

#include "gpu/flash_forward_fp32.h"
#include "gpu/kernel_mask.cuh"
#include "gpu/kernel_numbers.cuh"
#include "gpu/simt/simt.h"
#include "reference/spec/error.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

// 16 groups of 8 neighbouring threads; a group owns 4 rows. In S and P a thread owns the columns 4 lane .. 4 lane + 3
// of every 32, and the same columns of O: neighbours read neighbouring float4s, without bank conflicts.
constexpr int kThreads = 128;
constexpr int kLanesPerRow = 8;
constexpr int kRowsPerThread = 4;
constexpr int kRowsPerWarp = 32 / kLanesPerRow * kRowsPerThread;
constexpr int kTileQ = kThreads / kLanesPerRow * kRowsPerThread;

/// Shared memory for head dims up to D. K lies transposed, so that the threads of a group read neighbours.
template <int D>
struct FlashTiles {
  static constexpr int kTileKv = D <= 64 ? 64 : 32;
  float q[kTileQ][D + 4];
  float k[D][kTileKv + 4];
  float v[kTileKv][D + 4];
  float p[kTileQ][kTileKv + 4];
};

/// The j-th of a thread's columns.
__device__ constexpr int column_of(int lane, int j) { return 32 * (j / 4) + 4 * lane + j % 4; }

/// Rows row0 .. row0 + kTileQ - 1 of one head of q into shared memory; rows past the end become 0.
template <int D>
__device__ void load_queries(FlashTiles<D>& tiles, const FlashParams& prm, const float* q, std::int64_t row0) {
  for (int i = static_cast<int>(threadIdx.x); i < kTileQ * D; i += kThreads) {
    const int r = i / D, d = i % D;
    if (d >= prm.head_dim_qk) continue;
    const std::int64_t row = row0 + r;
    tiles.q[r][d] = row < prm.seqlen_q ? q[row * prm.q_stride[2] + d * prm.q_stride[3]] : 0.0f;
  }
}

/// Keys and values key0 .. key0 + kTileKv - 1 of one head; what lies past the end of the tensors becomes 0.
template <int D>
__device__ void load_keys(FlashTiles<D>& tiles, const FlashParams& prm, const float* k, const float* v,
                          std::int64_t key0) {
  constexpr int kTileKv = FlashTiles<D>::kTileKv;
  for (int i = static_cast<int>(threadIdx.x); i < kTileKv * D; i += kThreads) {
    const int c = i / D, d = i % D;
    const std::int64_t key = key0 + c;
    const bool exists = key < prm.seqlen_kv;
    if (d < prm.head_dim_qk) tiles.k[d][c] = exists ? k[key * prm.k_stride[2] + d * prm.k_stride[3]] : 0.0f;
    tiles.v[c][d] = exists && d < prm.head_dim_v ? v[key * prm.v_stride[2] + d * prm.v_stride[3]] : 0.0f;
  }
}

/// o += P V for a thread's rows and columns; row i takes the keys of the tile that `bits[i]` names. With kWhole every
/// row takes every key and the bits are not read.
template <int D, bool kWhole>
__device__ void add_values(float (&o)[kRowsPerThread][D / kLanesPerRow], const FlashTiles<D>& tiles, int row, int lane,
                           const std::uint64_t (&bits)[kRowsPerThread]) {
  for (int c = 0; c < FlashTiles<D>::kTileKv; ++c) {
    for (int i = 0; i < kRowsPerThread; ++i) {
      if (!kWhole && !(bits[i] >> c & 1)) continue;
      const float p = tiles.p[row + i][c];
      for (int j = 0; j < D / kLanesPerRow; j += 4) add_multiple(&o[i][j], p, &tiles.v[c][column_of(lane, j)]);
    }
  }
}

/// One block per tile of query rows, heads and batches behind one another along x (y ends at 65,535).
template <int D>
__global__ void __launch_bounds__(kThreads) flash_forward_fp32_kernel(const FlashParams prm) {
  constexpr int kTileKv = FlashTiles<D>::kTileKv;
  constexpr int kScoresPerThread = kTileKv / kLanesPerRow, kOutputsPerThread = D / kLanesPerRow;
  FlashTiles<D>& tiles = *reinterpret_cast<FlashTiles<D>*>(dynamic_smem());

  const std::int64_t tiles_q = (prm.seqlen_q + kTileQ - 1) / kTileQ;
  const std::int64_t row0 = blockIdx.x % tiles_q * kTileQ;
  const std::int64_t head = blockIdx.x / tiles_q % prm.heads_q, batch = blockIdx.x / tiles_q / prm.heads_q;
  const std::int64_t head_kv = head / (prm.heads_q / prm.heads_kv);
  const float* q = static_cast<const float*>(prm.q) + batch * prm.q_stride[0] + head * prm.q_stride[1];
  const float* k = static_cast<const float*>(prm.k) + batch * prm.k_stride[0] + head_kv * prm.k_stride[1];
  const float* v = static_cast<const float*>(prm.v) + batch * prm.v_stride[0] + head_kv * prm.v_stride[1];
  const float scale = static_cast<float>(prm.scale), softcap = static_cast<float>(prm.softcap);
  const float sink = prm.sink != nullptr ? prm.sink[head] : -INFINITY;

  const int lane = static_cast<int>(threadIdx.x) % kLanesPerRow;
  const int row = static_cast<int>(threadIdx.x) / kLanesPerRow * kRowsPerThread;

  KeySpan span[kRowsPerThread];
  bool empty[kRowsPerThread];
  float m[kRowsPerThread], l[kRowsPerThread], o[kRowsPerThread][kOutputsPerThread];
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    span[i] = span_of_row(prm, row0 + row + i);
    empty[i] = true;
    m[i] = sink;
    l[i] = lane == 0 && sink != -INFINITY ? 1.0f : 0.0f;
    for (int j = 0; j < kOutputsPerThread; ++j) o[i][j] = 0.0f;
  }
  load_queries(tiles, prm, q, row0);

  const KeySpan all = span_of_rows(prm, row0, row0 + kTileQ);
  // The rows of a warp may end earlier and see fewer keys.
  const std::int64_t warp_row = row0 + static_cast<int>(threadIdx.x) / 32 * kRowsPerWarp;
  const bool warp_has_rows = warp_row < prm.seqlen_q;
  for (std::int64_t key0 = all.first / kTileKv * kTileKv; key0 <= all.last; key0 += kTileKv) {
    if (sight_of(prm, row0, row0 + kTileQ, key0, key0 + kTileKv) == Sight::kNone) continue;
    __syncthreads();  // everyone is done with the previous keys
    load_keys(tiles, prm, k, v, key0);
    __syncthreads();  // the queries and these keys are complete
    if (!warp_has_rows || sight_of(prm, warp_row, warp_row + kRowsPerWarp, key0, key0 + kTileKv) == Sight::kNone) {
      continue;
    }

    float s[kRowsPerThread][kScoresPerThread];
    for (int i = 0; i < kRowsPerThread; ++i) {
      for (int j = 0; j < kScoresPerThread; ++j) s[i][j] = 0.0f;
    }
    for (int d = 0; d < prm.head_dim_qk; ++d) {
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int j = 0; j < kScoresPerThread; j += 4) {
          add_multiple(&s[i][j], tiles.q[row + i][d], &tiles.k[d][column_of(lane, j)]);
        }
      }
    }

    std::uint64_t bits[kRowsPerThread];
    bool whole = true;
#pragma unroll  // or the rows' registers become memory
    for (int i = 0; i < kRowsPerThread; ++i) {
      bits[i] = visible_bits<kTileKv>(prm, span[i], row0 + row + i, key0);
      whole = whole && bits[i] == low_bits(kTileKv);
      empty[i] = empty[i] && bits[i] == 0;

      float m_new = m[i];
      for (int j = 0; j < kScoresPerThread; ++j) {
        const float scaled = s[i][j] * scale;
        const float score = softcap > 0.0f ? softcap * tanhf(scaled / softcap) : scaled;
        s[i][j] = bits[i] >> column_of(lane, j) & 1 ? score : -INFINITY;
        m_new = larger(m_new, s[i][j]);
      }
      for (int w = kLanesPerRow / 2; w > 0; w /= 2) m_new = larger(m_new, __shfl_xor_sync(~0u, m_new, w));

      // A row that has seen nothing yet has m = -inf, and -inf - (-inf) would be NaN.
      const float base = m_new == -INFINITY ? 0.0f : m_new;
      const float rescale = expf(m[i] - base);
      m[i] = m_new;
      l[i] *= rescale;
      for (int j = 0; j < kOutputsPerThread; ++j) o[i][j] *= rescale;
      for (int j = 0; j < kScoresPerThread; ++j) {
        const float p = expf(s[i][j] - base);
        l[i] += p;
        tiles.p[row + i][column_of(lane, j)] = p;
      }
    }
    __syncwarp();  // P of a row is written and read by the same warp
    if (whole) {
      add_values<D, true>(o, tiles, row, lane, bits);
    } else {
      add_values<D, false>(o, tiles, row, lane, bits);
    }
  }

  if (!warp_has_rows) return;
  float* const lse = static_cast<float*>(prm.lse);
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    for (int w = kLanesPerRow / 2; w > 0; w /= 2) l[i] += __shfl_xor_sync(~0u, l[i], w);
    const std::int64_t r = row0 + row + i;
    if (r >= prm.seqlen_q) continue;
    float* out = static_cast<float*>(prm.out) + batch * prm.out_stride[0] + head * prm.out_stride[1];
    for (int j = 0; j < kOutputsPerThread; ++j) {
      const int c = column_of(lane, j);
      // Asked of the mask, not of l, which may be NaN.
      if (c < prm.head_dim_v) out[r * prm.out_stride[2] + c * prm.out_stride[3]] = empty[i] ? 0.0f : o[i][j] / l[i];
    }
    if (lane == 0 && lse != nullptr) {  // -inf for an empty row without a sink, as m is
      lse[batch * prm.lse_stride[0] + head * prm.lse_stride[1] + r * prm.lse_stride[2]] = m[i] + logf(l[i]);
    }
  }
}

/// Starts the kernel for head dims padded up to 32, 64, 128 or 256.
inline void launch_flash_forward_fp32(const FlashParams& prm, void* stream) {
  const std::int64_t head_dim = max(prm.head_dim_qk, prm.head_dim_v);
  assert_that(prm.dtype == Dtype::kF32 && prm.out_dtype == Dtype::kF32, "flash_forward_fp32 takes fp32 tensors");
  assert_that(head_dim <= kFlashForwardFp32HeadDimMax, "flash_forward_fp32 takes head dims of at most 256");
  const std::int64_t blocks = (prm.seqlen_q + kTileQ - 1) / kTileQ * prm.heads_q * prm.batch;
  if (blocks == 0) return;
  if (blocks > 2147483647) throw Error("flash_forward_fp32: more than 2^31 - 1 tiles of query rows");

  const dim3 grid(static_cast<unsigned>(blocks)), block(kThreads);
  if (head_dim <= 32) {
    launch(flash_forward_fp32_kernel<32>, grid, block, sizeof(FlashTiles<32>), stream, prm);
  } else if (head_dim <= 64) {
    launch(flash_forward_fp32_kernel<64>, grid, block, sizeof(FlashTiles<64>), stream, prm);
  } else if (head_dim <= 128) {
    launch(flash_forward_fp32_kernel<128>, grid, block, sizeof(FlashTiles<128>), stream, prm);
  } else {
    launch(flash_forward_fp32_kernel<256>, grid, block, sizeof(FlashTiles<256>), stream, prm);
  }
}

}  // namespace ringproof::SIMT_BACKEND
