#pragma once

// Attention forward in fp64 on the FP64 tensor cores: a second double reference, fast enough on a GPU for whole heads
// of long sequences. Online softmax as in flash_forward_fp32.cuh, every number a double, exp and tanh of the library.
//
// mma.m8n8k4 multiplies A (8 x 4) by B (4 x 8). Lane 4 g + t holds A[g][t], B[t][g] and of the result the columns 2 t
// and 2 t + 1 of row g. A warp owns 8 or 16 rows of Q and of O.
//   S = Q K^T   A = Q[g][d + t], B = K[key g][d + t]: both tiles lie by rows as they come.
//   O = P V     P is where S was: lane (g, t) holds the keys 2 t and 2 t + 1 of row g. A sum may take its keys in any
//               order, so the even keys of eight go first, the odd ones after: A = P[g][2 t + e], B = V[2 t + e][g].
//               P never moves, neither through shared memory nor by shuffles.
// Rows of Q and K are D + 4 doubles apart and rows of V D + 2: half a warp then reads 16 different pairs of banks.
//
// A product P V adds 0 x V for the keys a row does not see, and 0 x NaN is NaN. So every thread looks at the V it
// loads; once a block has met one that is not finite, its tiles that are masked in part are summed key by key, each
// row over its own keys. Tiles seen whole need no care: there NaN must get through.

#include <cstdint>

#include "gpu/attention_fp64.h"
#include "gpu/kernel_mask.cuh"
#include "gpu/kernel_numbers.cuh"
#include "gpu/simt/ptx.h"
#include "gpu/simt/simt.h"
#include "reference/spec/error.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

constexpr int kThreadsFp64 = 128;

/// Shared memory for head dims up to D.
template <int D>
struct Fp64Tiles {
  static constexpr int kBands = D <= 128 ? 2 : 1;  // of 8 rows each, per warp
  static constexpr int kRowsPerWarp = 8 * kBands;
  static constexpr int kTileQ = kThreadsFp64 / 32 * kRowsPerWarp;
  static constexpr int kTileKv = D <= 64 ? 32 : 16;
  double q[kTileQ][D + 4];
  double k[kTileKv][D + 4];
  double v[kTileKv][D + 2];
  unsigned met_special;  // 1 once a value of V was not finite
};

/// Not inlined: a tanh in double is long, and a thread has up to 32 scores.
[[gnu::noinline]] __device__ inline double softcapped(double score, double softcap) {
  return softcap * tanh(score / softcap);
}

/// The largest of the four lanes that share a row.
__device__ inline double largest_of_row(double x) {
  for (int w = 2; w > 0; w /= 2) x = larger(x, __shfl_xor_sync(~0u, x, w));
  return x;
}

/// Rows row0 .. of one head of q, zeros past the end of the tensor, columns padded with zeros to a multiple of 4.
template <int D>
__device__ void load_queries(Fp64Tiles<D>& tiles, const FlashParams& prm, const double* q, std::int64_t row0) {
  const int width = static_cast<int>(prm.head_dim_qk + 3) / 4 * 4;
  for (int i = static_cast<int>(threadIdx.x); i < Fp64Tiles<D>::kTileQ * D; i += kThreadsFp64) {
    const int r = i / D, d = i % D;
    if (d >= width) continue;
    const bool exists = row0 + r < prm.seqlen_q && d < prm.head_dim_qk;
    tiles.q[r][d] = exists ? q[(row0 + r) * prm.q_stride[2] + d * prm.q_stride[3]] : 0.0;
  }
}

/// Keys and values key0 .. of one head likewise, columns of v to a multiple of 8; marks what is not finite in v.
template <int D>
__device__ void load_keys(Fp64Tiles<D>& tiles, const FlashParams& prm, const double* k, const double* v,
                          std::int64_t key0) {
  const int width_k = static_cast<int>(prm.head_dim_qk + 3) / 4 * 4;
  const int width_v = static_cast<int>(prm.head_dim_v + 7) / 8 * 8;
  bool is_finite = true;
  for (int i = static_cast<int>(threadIdx.x); i < Fp64Tiles<D>::kTileKv * D; i += kThreadsFp64) {
    const int c = i / D, d = i % D;
    const bool exists = key0 + c < prm.seqlen_kv;
    if (d < width_k) {
      const bool is_inside = exists && d < prm.head_dim_qk;
      tiles.k[c][d] = is_inside ? k[(key0 + c) * prm.k_stride[2] + d * prm.k_stride[3]] : 0.0;
    }
    if (d < width_v) {
      const bool is_inside = exists && d < prm.head_dim_v;
      const double x = is_inside ? v[(key0 + c) * prm.v_stride[2] + d * prm.v_stride[3]] : 0.0;
      tiles.v[c][d] = x;
      is_finite = is_finite && x - x == 0.0;
    }
  }
  if (!is_finite) atomicExch(&tiles.met_special, 1u);
}

/// s += Q K^T on the tensor cores, for the 8 kBands rows from `row` of the tile.
template <int D>
__device__ void add_products(double (&s)[Fp64Tiles<D>::kBands][Fp64Tiles<D>::kTileKv / 8][2], const Fp64Tiles<D>& tiles,
                             int row, int head_dim_qk, int lane) {
  for (int d = 0; d < head_dim_qk; d += 4) {
#pragma unroll
    for (int band = 0; band < Fp64Tiles<D>::kBands; ++band) {
      const double a = tiles.q[row + 8 * band + lane / 4][d + lane % 4];
#pragma unroll
      for (int eight = 0; eight < Fp64Tiles<D>::kTileKv / 8; ++eight) {
        mma_m8n8k4_f64(s[band][eight], a, tiles.k[8 * eight + lane / 4][d + lane % 4], s[band][eight]);
      }
    }
  }
}

/// o += P V on the tensor cores, for 8 kBands rows.
template <int D>
__device__ void add_values(double (&o)[Fp64Tiles<D>::kBands][D / 8][2], const Fp64Tiles<D>& tiles,
                           const double (&p)[Fp64Tiles<D>::kBands][Fp64Tiles<D>::kTileKv / 8][2], int head_dim_v,
                           int lane) {
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    if (8 * n >= head_dim_v) continue;
#pragma unroll
    for (int eight = 0; eight < Fp64Tiles<D>::kTileKv / 8; ++eight) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const double b = tiles.v[8 * eight + 2 * (lane % 4) + e][8 * n + lane / 4];
#pragma unroll
        for (int band = 0; band < Fp64Tiles<D>::kBands; ++band) {
          mma_m8n8k4_f64(o[band][n], p[band][eight][e], b, o[band][n]);
        }
      }
    }
  }
}

/// The same for one band of 8 rows, key by key: row g takes the keys of the tile that `bits` names.
template <int D>
__device__ void add_seen_values(double (&o)[D / 8][2], const Fp64Tiles<D>& tiles,
                                const double (&p)[Fp64Tiles<D>::kTileKv / 8][2], std::uint64_t bits, int head_dim_v,
                                int lane) {
#pragma unroll
  for (int i = 0; i < Fp64Tiles<D>::kTileKv / 4; ++i) {
#pragma unroll 1  // a rare path: short rather than fast
    for (int t = 0; t < 4; ++t) {
      const double weight = __shfl_sync(~0u, p[i / 2][i % 2], (lane & ~3) + t);
      const int c = 8 * (i / 2) + 2 * t + i % 2;
      if (!(bits >> c & 1)) continue;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        if (8 * n >= head_dim_v) continue;
        for (int e = 0; e < 2; ++e) o[n][e] += weight * tiles.v[c][8 * n + 2 * (lane % 4) + e];
      }
    }
  }
}

/// One block per tile of query rows, heads and batches behind one another along x.
template <int D>
__global__ void __launch_bounds__(kThreadsFp64) attention_fp64_kernel(const FlashParams prm) {
  using Tiles = Fp64Tiles<D>;
  constexpr int kTileQ = Tiles::kTileQ, kTileKv = Tiles::kTileKv, kBands = Tiles::kBands;
  Tiles& tiles = *reinterpret_cast<Tiles*>(dynamic_smem());

  const std::int64_t tiles_q = (prm.seqlen_q + kTileQ - 1) / kTileQ;
  const std::int64_t row0 = blockIdx.x % tiles_q * kTileQ;
  const std::int64_t head = blockIdx.x / tiles_q % prm.heads_q, batch = blockIdx.x / tiles_q / prm.heads_q;
  const std::int64_t head_kv = head / (prm.heads_q / prm.heads_kv);
  const double* q = static_cast<const double*>(prm.q) + batch * prm.q_stride[0] + head * prm.q_stride[1];
  const double* k = static_cast<const double*>(prm.k) + batch * prm.k_stride[0] + head_kv * prm.k_stride[1];
  const double* v = static_cast<const double*>(prm.v) + batch * prm.v_stride[0] + head_kv * prm.v_stride[1];
  const double sink = prm.sink != nullptr ? prm.sink[head] : -INFINITY;
  const int head_dim_v = static_cast<int>(prm.head_dim_v);

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row_in_tile = static_cast<int>(threadIdx.x) / 32 * Tiles::kRowsPerWarp;
  const std::int64_t warp_row = row0 + row_in_tile;
  const bool warp_has_rows = warp_row < prm.seqlen_q;

  // This lane's rows: g of each band.
  KeySpan span[kBands];
  bool empty[kBands];
  double m[kBands], l[kBands], o[kBands][D / 8][2];
#pragma unroll
  for (int band = 0; band < kBands; ++band) {
    span[band] = span_of_row(prm, warp_row + 8 * band + lane / 4);
    empty[band] = true;
    m[band] = sink;
    l[band] = lane % 4 == 0 && sink != -INFINITY ? 1.0 : 0.0;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) o[band][n][0] = o[band][n][1] = 0.0;
  }
  if (threadIdx.x == 0) tiles.met_special = 0;
  load_queries(tiles, prm, q, row0);

  const KeySpan all = span_of_rows(prm, row0, row0 + kTileQ);
  for (std::int64_t key0 = all.first / kTileKv * kTileKv; key0 <= all.last; key0 += kTileKv) {
    if (sight_of(prm, row0, row0 + kTileQ, key0, key0 + kTileKv) == Sight::kNone) continue;
    __syncthreads();  // everyone is done with the previous keys
    load_keys(tiles, prm, k, v, key0);
    __syncthreads();  // the queries and these keys are complete
    if (!warp_has_rows) continue;
    const Sight sight = sight_of(prm, warp_row, warp_row + Tiles::kRowsPerWarp, key0, key0 + kTileKv);
    if (sight == Sight::kNone) continue;

    double s[kBands][kTileKv / 8][2] = {};
    add_products<D>(s, tiles, row_in_tile, static_cast<int>(prm.head_dim_qk), lane);

    std::uint64_t bits[kBands];
#pragma unroll
    for (int band = 0; band < kBands; ++band) {
      bits[band] = visible_bits<kTileKv>(prm, span[band], warp_row + 8 * band + lane / 4, key0);
      empty[band] = empty[band] && bits[band] == 0;
      double m_new = m[band];
#pragma unroll
      for (int i = 0; i < kTileKv / 4; ++i) {
        double& score = s[band][i / 2][i % 2];
        score *= prm.scale;
        if (prm.softcap > 0) score = softcapped(score, prm.softcap);
        if (!(bits[band] >> (8 * (i / 2) + 2 * (lane % 4) + i % 2) & 1)) score = -INFINITY;
        m_new = larger(m_new, score);
      }
      m_new = largest_of_row(m_new);

      // A row that has seen nothing yet has m = -inf, and -inf - (-inf) would be NaN.
      const double base = m_new == -INFINITY ? 0.0 : m_new;
      const double rescale = exp(m[band] - base);
      m[band] = m_new;
      l[band] *= rescale;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        o[band][n][0] *= rescale;
        o[band][n][1] *= rescale;
      }
#pragma unroll
      for (int i = 0; i < kTileKv / 4; ++i) {
        s[band][i / 2][i % 2] = exp(s[band][i / 2][i % 2] - base);
        l[band] += s[band][i / 2][i % 2];
      }
    }

    if (sight == Sight::kAll || tiles.met_special == 0) {
      add_values<D>(o, tiles, s, head_dim_v, lane);
    } else {
#pragma unroll
      for (int band = 0; band < kBands; ++band)
        add_seen_values<D>(o[band], tiles, s[band], bits[band], head_dim_v, lane);
    }
  }

  if (!warp_has_rows) return;
  double* const lse = static_cast<double*>(prm.lse);
#pragma unroll
  for (int band = 0; band < kBands; ++band) {
    for (int w = 2; w > 0; w /= 2) l[band] += __shfl_xor_sync(~0u, l[band], w);
    const std::int64_t row = warp_row + 8 * band + lane / 4;
    if (row >= prm.seqlen_q) continue;
    double* out = static_cast<double*>(prm.out) + batch * prm.out_stride[0] + head * prm.out_stride[1];
#pragma unroll
    for (int i = 0; i < D / 4; ++i) {
      const int c = 8 * (i / 2) + 2 * (lane % 4) + i % 2;
      // Asked of the mask, not of l, which may be NaN.
      const double value = empty[band] ? 0.0 : o[band][i / 2][i % 2] / l[band];
      if (c < head_dim_v) out[row * prm.out_stride[2] + c * prm.out_stride[3]] = value;
    }
    if (lane % 4 == 0 && lse != nullptr) {  // -inf for an empty row without a sink, as m is
      lse[batch * prm.lse_stride[0] + head * prm.lse_stride[1] + row * prm.lse_stride[2]] = m[band] + log(l[band]);
    }
  }
}

/// Starts the kernel for head dims padded up to D.
template <int D>
void launch_attention_fp64_padded(const FlashParams& prm, void* stream) {
  const std::int64_t tiles_q = (prm.seqlen_q + Fp64Tiles<D>::kTileQ - 1) / Fp64Tiles<D>::kTileQ;
  const std::int64_t blocks = tiles_q * prm.heads_q * prm.batch;
  if (blocks == 0) return;
  if (blocks > 2147483647) throw Error("attention_fp64: more than 2^31 - 1 tiles of query rows");
  launch(attention_fp64_kernel<D>, dim3(static_cast<unsigned>(blocks)), dim3(kThreadsFp64), sizeof(Fp64Tiles<D>),
         stream, prm);
}

inline void launch_attention_fp64(const FlashParams& prm, void* stream) {
  const std::int64_t head_dim = max(prm.head_dim_qk, prm.head_dim_v);
  assert_that(prm.dtype == Dtype::kF64 && prm.out_dtype == Dtype::kF64, "attention_fp64 takes fp64 tensors");
  assert_that(head_dim <= kAttentionFp64HeadDimMax, "attention_fp64 takes head dims of at most 256");
  if (head_dim <= 64) {
    launch_attention_fp64_padded<64>(prm, stream);
  } else if (head_dim <= 128) {
    launch_attention_fp64_padded<128>(prm, stream);
  } else {
    launch_attention_fp64_padded<256>(prm, stream);
  }
}

}  // namespace ringproof::SIMT_BACKEND
