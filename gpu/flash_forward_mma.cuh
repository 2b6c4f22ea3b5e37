#pragma once

// Flash attention forward on tensor cores: q, k, v in bf16 or fp16, products accumulated in fp32.
//
// The recurrence of flash_forward_fp32.cuh, cut as FlashAttention-2 cuts it (Dao 2023): four warps share a tile of
// query rows, each warp keeps the scores, P and O of its own 16 or 32 rows in registers, and nothing but K and V passes
// through shared memory while the keys go by. With c = scale log2(e), per row,
//   m = max_j fl(c S_ij),   p_ij = 2^(c S_ij - m),   l = sum p_ij,   o = sum cast(p_ij) v_j,
// l over P before its cast to the storage dtype; O = o / l, lse = m ln 2 + ln l. 2^x is ex2.approx, within 2 ulp.
//
// Data paths. A tile of keys and values is copied by cp.async while the one before it is worked on, so one barrier per
// tile orders both: past it the tile has landed and the other half of the buffer is free. Rows of a tile are cut into
// 16-byte segments, stored at their number XOR a hash of their row, so that the eight rows an ldmatrix reads lie in
// eight different bank groups without padding. A score tile of mma.m16n8k16 lies in registers as the next product
// wants its left operand: P never leaves them.
//
// What a row does not see does not touch it. Hidden scores are replaced by -inf. In the second product, however, P = 0
// meets V of hidden keys, and 0 NaN = NaN: tiles where some row lacks some key are searched for values that are not
// finite, and multiplied key by key where there are any. Tiles seen whole pay nothing for that.

#include <cstdint>

#include "gpu/flash_forward_mma.h"
#include "gpu/kernel_mask.cuh"
#include "gpu/kernel_numbers.cuh"
#include "gpu/simt/simt.h"
#include "reference/spec/error.h"

namespace ringproof::SIMT_BACKEND {

using namespace simt::api;

constexpr int kMmaWarps = 4;
constexpr int kMmaThreads = 32 * kMmaWarps;
constexpr int kSegmentElements = 8;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

/// How the work is cut for 16-bit elements and head dims up to DQk and DV. Two blocks of 16 rows per warp halve what is
/// read from shared memory per product; they fit into 255 registers while O takes at most 128 of them.
template <class Element, int DQk, int DV>
struct MmaShape {
  using T = Element;
  static constexpr int kDQk = DQk, kDV = DV;
  static constexpr int kRowBlocks = DV <= 128 ? 2 : 1;
  static constexpr int kRowsPerWarp = 16 * kRowBlocks;
  static constexpr int kTileQ = kRowsPerWarp * kMmaWarps;
  static constexpr int kTileKv = DQk <= 64 ? 64 : 32;
  static constexpr bool kQueriesInRegisters = DQk <= 64;

  struct Tiles {
    T q[kTileQ * DQk];
    T k[2 * kTileKv * DQk];  ///< two stages, one behind the other
    T v[2 * kTileKv * DV];
  };
  /// Fragments of the queries of a warp, or nothing where they are read again for each tile.
  using Queries = std::uint32_t[kRowBlocks][kQueriesInRegisters ? DQk / 16 : 1][4];
  using Scores = float[kRowBlocks][kTileKv / 8][4];
};

/// What a thread keeps of its rows: 16 block + 8 half + lane / 4 for each block and half; in an accumulator fragment
/// f[4] the half is f's index / 2, and the columns are 8 n + 2 (lane % 4) + index % 2.
template <class S>
struct RowState {
  float o[S::kRowBlocks][S::kDV / 8][4];
  float m[S::kRowBlocks][2], l[S::kRowBlocks][2];  ///< l over this thread's columns
};

/// What is the same for all threads and made of the parameters once, before the launch.
struct MmaPlan {
  float softcap;        ///< 0: none
  float score_scale;    ///< what q.k is multiplied by to give S / softcap; read with a softcap only
  float scale_log2;     ///< positive; what q.k, or S after its cap, is multiplied by to become a power of two
  std::uint32_t signs;  ///< turns the sign of both queries in a register where the scale is negative
  bool q_by_segments, k_by_segments, v_by_segments, out_by_pairs;
};

/// One head of an input.
template <class T>
struct HeadRows {
  const T* data;
  std::int64_t row_stride, dim_stride;
  int rows, dims;
  bool by_segments;  ///< aligned rows of whole 16-byte segments
};

/// Segments of a row that have banks of their own; neighbouring threads copy as many.
template <int D>
inline constexpr int kSegmentsOfGroup = D % 64 == 0 ? 8 : 4;

/// Where segment `segment` of row `row` begins in a tile with rows of D elements: its number XOR a hash of the row,
/// within its group. Rows of 64 bytes, mod 128, repeat their banks every second row, others in every row. Rows that
/// differ by a multiple of 8 hash alike.
template <int D>
__device__ constexpr int place_of(int row, int segment) {
  constexpr int kGroup = kSegmentsOfGroup<D>;
  const int hash = D % 64 == 0 ? row % 8 : row / 2 % 4, within = segment % kGroup;
  return ((row * D + kSegmentElements * hash) ^ (kSegmentElements * within)) + kSegmentElements * (segment - within);
}

/// Starts the copy of rows row0 .. row0 + kRows - 1 of a head into a tile; what lies outside the tensor becomes 0. A
/// thread copies its segment of every group of its rows, and waits for them; where there are no segments the copy is
/// complete at once. Requires row0 < from.rows.
template <int kRows, int D, class T>
__device__ void load_tile(T* tile, const HeadRows<T>& from, int row0) {
  const T* const first = from.data + row0 * from.row_stride;
  const int rows = from.rows - row0, thread = anew(static_cast<int>(threadIdx.x));
  if (from.by_segments) {
    constexpr int kGroup = kSegmentsOfGroup<D>, kRowsAtOnce = kMmaThreads / kGroup;
    static_assert(kRows % kRowsAtOnce == 0 && kRowsAtOnce % 8 == 0);
    const int r = thread / kGroup, segment = thread % kGroup;
    T* const to = tile + place_of<D>(r, segment);
    const T* source = first + r * from.row_stride + segment * kSegmentElements;
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsAtOnce; ++pass) {
#pragma unroll
      for (int group = 0; group < D / kSegmentElements; group += kGroup) {
        const bool exists = r + pass * kRowsAtOnce < rows && (segment + group) * kSegmentElements < from.dims;
        cp_async_16(to + pass * kRowsAtOnce * D + group * kSegmentElements,
                    exists ? source + group * kSegmentElements : first, exists);
      }
      source += kRowsAtOnce * from.row_stride;
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < kRows * D; i += kMmaThreads) {
    const int r = i / D, d = i % D;
    const bool exists = r < rows && d < from.dims;
    tile[place_of<D>(r, d / kSegmentElements) + d % kSegmentElements] =
        exists ? first[r * from.row_stride + d * from.dim_stride] : from_float<T>(0.0f);
  }
}

/// The left operand of rows row .. row + 15 and dims 16 k .. 16 k + 15; `signs` turns both signs of each register.
template <int D, class T>
__device__ void load_queries(std::uint32_t (&a)[4], const T* q, int row, int k, int lane, std::uint32_t signs) {
  ldmatrix_x4(a, q + place_of<D>(row + lane % 16, 2 * k + lane / 16));
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] ^= signs;
}

template <class S>
__device__ void load_all_queries(typename S::Queries& queries, const typename S::Tiles& tiles, int row, int lane,
                                 std::uint32_t signs) {
#pragma unroll
  for (int k = 0; k < S::kDQk / 16; ++k) {
#pragma unroll
    for (int b = 0; b < S::kRowBlocks; ++b) load_queries<S::kDQk>(queries[b][k], tiles.q, row + 16 * b, k, lane, signs);
  }
}

/// s = Q K^T for a warp's rows, which start at `row`, and a tile of keys.
template <class S>
__device__ void multiply_queries(typename S::Scores& s, const typename S::Queries& queries,
                                 const typename S::Tiles& tiles, int stage, int row, int lane, std::uint32_t signs) {
#pragma unroll
  for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
    for (int n = 0; n < S::kTileKv / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[b][n][i] = 0.0f;
    }
  }
#pragma unroll
  for (int k = 0; k < S::kDQk / 16; ++k) {
    std::uint32_t a[S::kRowBlocks][4];
#pragma unroll
    for (int b = 0; b < S::kRowBlocks; ++b) {
      if constexpr (S::kQueriesInRegisters) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[b][i] = queries[b][k][i];
      } else {
        load_queries<S::kDQk>(a[b], tiles.q, row + 16 * b, k, lane, signs);
      }
    }
    // Lanes 0-7 and 8-15 name the two halves of the dims for eight keys, lanes 16-31 the same for the next eight.
    const int key = stage * S::kTileKv + lane / 16 * 8 + lane % 8;
    const typename S::T* const first = tiles.k + place_of<S::kDQk>(key, 2 * k + lane / 8 % 2);
#pragma unroll
    for (int n = 0; n < S::kTileKv / 8; n += 2) {
      std::uint32_t r[4];
      ldmatrix_x4(r, first + 8 * n * S::kDQk);
      const std::uint32_t keys[2][2] = {{r[0], r[1]}, {r[2], r[3]}};
#pragma unroll
      for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 2; ++i) mma_m16n8k16<typename S::T>(s[b][n + i], a[b], keys[i], s[b][n + i]);
      }
    }
  }
}

/// What row 16 block + 8 half + lane / 4 of a warp sees of a tile, from the lane that knows.
__device__ inline std::uint64_t bits_of_row(std::uint64_t own_bits, int block, int half, int lane) {
  return __shfl_sync(~0u, own_bits, 16 * block + 8 * half + lane / 4);
}

/// Scores that a row does not see become -inf. Lane r holds the keys that row r of the warp sees, one bit each.
template <class S>
__device__ void hide_scores(typename S::Scores& s, std::uint64_t own_bits, int lane) {
#pragma unroll
  for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint64_t bits = bits_of_row(own_bits, b, half, lane) >> lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < S::kTileKv / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if ((bits >> (8 * n + i) & 1) == 0) s[b][n][2 * half + i] = -INFINITY;
        }
      }
    }
  }
}

/// Scores of 16 rows become P; m, l and o of these rows move on to the new maximum.
template <int kColumns, int kOutputs>
__device__ void soften(float (&s)[kColumns][4], float (&o)[kOutputs][4], float (&m)[2], float (&l)[2], float scale) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = -INFINITY;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {  // passes over NaN, which reaches l and O through its own exponential
      largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    const float m_new = fmaxf(m[half], largest * scale);
    // A row that has seen nothing yet has m = -inf, and -inf - (-inf) would be NaN.
    const float base = m_new == -INFINITY ? 0.0f : m_new;
    const float rescale = exp2_approx(m[half] - base);
    m[half] = m_new;
    l[half] *= rescale;
#pragma unroll
    for (int n = 0; n < kOutputs; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) o[n][2 * half + i] *= rescale;
    }
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& x = s[n][2 * half + i];
        x = exp2_approx(x * scale - base);
        l[half] += x;
      }
    }
  }
}

/// o += P V for a warp's rows and a tile of keys, P rounded to the storage dtype.
template <class S>
__device__ void multiply_values(float (&o)[S::kRowBlocks][S::kDV / 8][4], const typename S::Scores& p,
                                const typename S::Tiles& tiles, int stage, int lane) {
  using T = typename S::T;
#pragma unroll
  for (int k = 0; k < S::kTileKv / 16; ++k) {
    std::uint32_t a[S::kRowBlocks][4];
#pragma unroll
    for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[b][i] = pack<T>(p[b][2 * k + i / 2][i % 2 * 2], p[b][2 * k + i / 2][i % 2 * 2 + 1]);
    }
#pragma unroll
    for (int n = 0; n < S::kDV / 8; n += 2) {
      // Lanes 0-15 name sixteen keys for eight dims, lanes 16-31 the same keys for the next eight.
      std::uint32_t r[4];
      const int key = stage * S::kTileKv + lane % 16;
      ldmatrix_x4_trans(r, tiles.v + place_of<S::kDV>(key, n + lane / 16) + 16 * k * S::kDV);
      const std::uint32_t values[2][2] = {{r[0], r[1]}, {r[2], r[3]}};
#pragma unroll
      for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 2; ++i) mma_m16n8k16<T>(o[b][n + i], a[b], values[i], o[b][n + i]);
      }
    }
  }
}

/// Whether a tile holds a value that is infinite or NaN; the lanes of a warp look together.
template <class S>
__device__ bool has_nonfinite(const typename S::Tiles& tiles, int stage, int lane) {
  const typename S::T* const v = tiles.v + stage * S::kTileKv * S::kDV;
  bool found = false;
  for (int i = lane; i < S::kTileKv * S::kDV; i += 32) found |= !(fabsf(to_float(v[i])) < INFINITY);
  return __any_sync(~0u, found) != 0;
}

/// As multiply_values, key by key, so that a row meets only the values of keys that it sees: 0 times NaN is NaN.
template <class S>
__device__ void multiply_seen_values(float (&o)[S::kRowBlocks][S::kDV / 8][4], const typename S::Scores& p,
                                     std::uint64_t own_bits, const typename S::Tiles& tiles, int stage, int lane) {
  using T = typename S::T;
#pragma unroll
  for (int n = 0; n < S::kTileKv / 8; ++n) {
#pragma unroll 1
    for (int key = 8 * n; key < 8 * n + 8; ++key) {
      const T* const v = tiles.v + stage * S::kTileKv * S::kDV;
#pragma unroll
      for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float own = key % 2 == 0 ? p[b][n][2 * half] : p[b][n][2 * half + 1];
          const float weight = to_float(from_float<T>(__shfl_sync(~0u, own, lane / 4 * 4 + key % 8 / 2)));
          if ((bits_of_row(own_bits, b, half, lane) >> key & 1) == 0) continue;
#pragma unroll
          for (int d = 0; d < S::kDV / 8; ++d) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              o[b][d][2 * half + i] += weight * to_float(v[place_of<S::kDV>(key, d) + lane % 4 * 2 + i]);
            }
          }
        }
      }
    }
  }
}

/// S after the cap, from q.k.
template <class S>
__device__ void cap_scores(typename S::Scores& s, const MmaPlan& plan) {
#pragma unroll
  for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
    for (int n = 0; n < S::kTileKv / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[b][n][i] = plan.softcap * tanhf(s[b][n][i] * plan.score_scale);
    }
  }
}

/// One tile of keys for the rows of a warp, which see some of it; `row` is the first of them.
template <class S>
__device__ void attend(RowState<S>& state, const typename S::Queries& queries, const typename S::Tiles& tiles,
                       const FlashParams& prm, const MmaPlan& plan, Sight sight, int tile, int stage, int row) {
  const int thread = anew(static_cast<int>(threadIdx.x));  // or addresses made of it fill the registers
  const int lane = thread % 32, tile_row = thread / 32 * S::kRowsPerWarp;
  std::uint64_t own_bits = 0;
  if (sight == Sight::kSome) {
    const std::int64_t own_row = row + lane % S::kRowsPerWarp;
    own_bits = visible_bits<S::kTileKv>(prm, span_of_row(prm, own_row), own_row, std::int64_t{tile} * S::kTileKv);
  }
  typename S::Scores s;
  multiply_queries<S>(s, queries, tiles, stage, tile_row, lane, plan.signs);
  if (plan.softcap > 0.0f) cap_scores<S>(s, plan);
  if (sight == Sight::kSome) hide_scores<S>(s, own_bits, lane);
#pragma unroll
  for (int b = 0; b < S::kRowBlocks; ++b) {
    soften(s[b], state.o[b], state.m[b], state.l[b], plan.scale_log2);
  }
  if (sight == Sight::kSome && has_nonfinite<S>(tiles, stage, lane)) {
    multiply_seen_values<S>(state.o, s, own_bits, tiles, stage, lane);
  } else {
    multiply_values<S>(state.o, s, tiles, stage, lane);
  }
}

/// Tiles of keys, both ends inclusive: rows see nothing outside first .. last and, but for blocks, everything in
/// whole_first .. whole_last.
struct TileRange {
  int first, last, whole_first, whole_last;
};

/// For rows row_begin .. row_end - 1. Requires a row_begin < seqlen_q, and lengths below 2^31.
template <int kTileKv>
__device__ TileRange tile_range(const FlashParams& prm, int row_begin, int row_end) {
  const KeySpan top = span_of_row(prm, row_begin);
  const KeySpan bottom = span_of_row(prm, min(row_end, static_cast<int>(prm.seqlen_q)) - 1);
  if (top.first > bottom.last) return {0, -1, 0, -1};
  return {static_cast<int>(top.first) / kTileKv, static_cast<int>(bottom.last) / kTileKv,
          (static_cast<int>(bottom.first) + kTileKv - 1) / kTileKv, static_cast<int>(top.last + 1) / kTileKv - 1};
}

/// As sight_of, with the spans at hand.
template <int kTileKv>
__device__ Sight sight_of_tile(const FlashParams& prm, const TileRange& range, int row_begin, int row_end, int tile) {
  if (tile < range.first || tile > range.last) return Sight::kNone;
  const bool whole = tile >= range.whole_first && tile <= range.whole_last;
  if (prm.block_mask == nullptr) return whole ? Sight::kAll : Sight::kSome;
  const std::int64_t key0 = std::int64_t{tile} * kTileKv, rows = row_end;
  const Sight blocks =
      sight_of_blocks(prm, row_begin, min(rows, prm.seqlen_q), key0, min(key0 + kTileKv, prm.seqlen_kv));
  return blocks == Sight::kAll && !whole ? Sight::kSome : blocks;
}

/// o factor into a row of out, and its right neighbour in one store where the plan says so.
template <class Out, int kOutputs>
__device__ void store_row(Out* out, const float (&o)[kOutputs][4], int half, float factor, int lane,
                          const FlashParams& prm, bool by_pairs) {
  struct alignas(2 * sizeof(Out)) Pair {
    Out left, right;
  };
  const int dims = static_cast<int>(prm.head_dim_v);
#pragma unroll
  for (int n = 0; n < kOutputs; ++n) {
    const int d = 8 * n + lane % 4 * 2;
    if (d >= dims) continue;
    const Out left = narrowed<Out>(o[n][2 * half] * factor), right = narrowed<Out>(o[n][2 * half + 1] * factor);
    if (by_pairs) {
      *reinterpret_cast<Pair*>(out + d) = {left, right};
    } else {
      out[d * prm.out_stride[3]] = left;
      if (d + 1 < dims) out[(d + 1) * prm.out_stride[3]] = right;
    }
  }
}

/// O and lse of a warp's rows: l of a row is summed over the four threads that hold it, the sink joins as one more key
/// without a value.
template <class S>
__device__ void finish_rows(RowState<S>& state, const FlashParams& prm, const MmaPlan& plan, int batch, int head,
                            int row, int lane) {
#pragma unroll
  for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float m = state.m[b][half], l = state.l[b][half], rescale = 1.0f;
      l += __shfl_xor_sync(~0u, l, 1);
      l += __shfl_xor_sync(~0u, l, 2);
      const int r = row + 16 * b + 8 * half + lane / 4;
      if (r >= prm.seqlen_q) continue;
      if (prm.sink != nullptr) {
        const float sink = prm.sink[head] * kLog2E, m_new = fmaxf(m, sink);
        rescale = exp2_approx(m - m_new);
        l = l * rescale + exp2_approx(sink - m_new);
        m = m_new;
      }
      // l is 0 for a row that sees nothing only: the largest score adds 1. NaN is not 0.
      const float factor = l == 0.0f ? 0.0f : rescale / l;
      const std::int64_t offset = batch * prm.out_stride[0] + head * prm.out_stride[1] + r * prm.out_stride[2];
      if (prm.out_dtype == Dtype::kF32) {
        store_row(static_cast<float*>(prm.out) + offset, state.o[b], half, factor, lane, prm, plan.out_by_pairs);
      } else {
        store_row(static_cast<typename S::T*>(prm.out) + offset, state.o[b], half, factor, lane, prm,
                  plan.out_by_pairs);
      }
      if (lane % 4 == 0 && prm.lse != nullptr) {  // -inf for an empty row, as m is
        static_cast<float*>(prm.lse)[batch * prm.lse_stride[0] + head * prm.lse_stride[1] + r * prm.lse_stride[2]] =
            m * kLn2 + logf(l);
      }
    }
  }
}

template <class T>
__device__ HeadRows<T> head_rows(const void* data, const std::int64_t (&stride)[4], int batch, int head,
                                 std::int64_t rows, std::int64_t dims, bool by_segments) {
  return {static_cast<const T*>(data) + batch * stride[0] + head * stride[1],
          stride[2],
          stride[3],
          static_cast<int>(rows),
          static_cast<int>(dims),
          by_segments};
}

/// One block per tile of query rows, heads and batches behind one another along x (y ends at 65,535). Under a causal
/// mask the last rows have the most keys, so they start first.
template <class S>
__global__ void __launch_bounds__(kMmaThreads, 2) flash_forward_mma_kernel(const FlashParams prm, const MmaPlan plan) {
  using T = typename S::T;
  typename S::Tiles& tiles = *reinterpret_cast<typename S::Tiles*>(dynamic_smem());
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;

  const unsigned tiles_q = static_cast<unsigned>((prm.seqlen_q - 1) / S::kTileQ + 1);
  const int row0 = static_cast<int>(tiles_q - 1 - blockIdx.x % tiles_q) * S::kTileQ;
  const int batch_head = static_cast<int>(blockIdx.x / tiles_q), heads_q = static_cast<int>(prm.heads_q);
  const int head = batch_head % heads_q, batch = batch_head / heads_q;
  const int head_kv = head / (heads_q / static_cast<int>(prm.heads_kv));
  const HeadRows<T> q =
      head_rows<T>(prm.q, prm.q_stride, batch, head, prm.seqlen_q, prm.head_dim_qk, plan.q_by_segments);
  const HeadRows<T> k =
      head_rows<T>(prm.k, prm.k_stride, batch, head_kv, prm.seqlen_kv, prm.head_dim_qk, plan.k_by_segments);
  const HeadRows<T> v =
      head_rows<T>(prm.v, prm.v_stride, batch, head_kv, prm.seqlen_kv, prm.head_dim_v, plan.v_by_segments);

  RowState<S> state;
#pragma unroll
  for (int b = 0; b < S::kRowBlocks; ++b) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      state.m[b][half] = -INFINITY;
      state.l[b][half] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < S::kDV / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) state.o[b][n][i] = 0.0f;
    }
  }

  const TileRange range = tile_range<S::kTileKv>(prm, row0, row0 + S::kTileQ);
  const int tile_row = warp * S::kRowsPerWarp, row = row0 + tile_row;
  TileRange warp_range = {0, -1, 0, -1};
  if (row < prm.seqlen_q) warp_range = tile_range<S::kTileKv>(prm, row, row + S::kRowsPerWarp);

  // Each round works on a tile and starts the copy of the next; the first has none to work on yet.
  typename S::Queries queries;
  bool queries_loaded = false;
  for (int tile = range.first - 1, stage = 1; tile <= range.last; stage ^= 1) {
    int next = tile + 1;
    while (next <= range.last && sight_of_tile<S::kTileKv>(prm, range, row0, row0 + S::kTileQ, next) == Sight::kNone) {
      ++next;
    }
    cp_async_wait<0>();
    __syncthreads();  // this tile has landed for all, and all are done with the one before it
    if (tile < range.first && next <= range.last) load_tile<S::kTileQ, S::kDQk>(tiles.q, q, row0);
    if (next <= range.last) {
      const int keys = (stage ^ 1) * S::kTileKv;
      load_tile<S::kTileKv, S::kDQk>(tiles.k + keys * S::kDQk, k, next * S::kTileKv);
      load_tile<S::kTileKv, S::kDV>(tiles.v + keys * S::kDV, v, next * S::kTileKv);
      cp_async_commit();
    }
    const Sight sight = sight_of_tile<S::kTileKv>(prm, warp_range, row, row + S::kRowsPerWarp, tile);
    if (sight != Sight::kNone) {
      if constexpr (S::kQueriesInRegisters) {
        if (!queries_loaded) load_all_queries<S>(queries, tiles, tile_row, anew(lane), plan.signs);
        queries_loaded = true;
      }
      attend<S>(state, queries, tiles, prm, plan, sight, tile, stage, row);
    }
    tile = next;
  }
  if (row < prm.seqlen_q) finish_rows<S>(state, prm, plan, batch, head, row, lane);
}

/// Whether rows of 16-bit elements can be copied by 16-byte segments.
inline bool lies_by_segments(const void* data, const std::int64_t (&stride)[4], std::int64_t dims) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride[0] % kSegmentElements == 0 &&
         stride[1] % kSegmentElements == 0 && stride[2] % kSegmentElements == 0 && stride[3] == 1 &&
         dims % kSegmentElements == 0;
}

inline MmaPlan plan_of(const FlashParams& prm) {
  // A scale of 0 would turn the -inf of hidden scores into NaN; scores this small are 0 in every digit of l and lse.
  constexpr double kLeastScale = 0x1p-149, kExactLog2E = 1.4426950408889634;
  MmaPlan plan{};
  plan.softcap = static_cast<float>(prm.softcap);
  const double scale = prm.scale < 0 ? -prm.scale : prm.scale;
  if (prm.softcap > 0) plan.score_scale = static_cast<float>(scale / prm.softcap);
  plan.scale_log2 = static_cast<float>(max(kLeastScale, prm.softcap > 0 ? kExactLog2E : scale * kExactLog2E));
  plan.signs = prm.scale < 0 ? 0x80008000u : 0u;
  plan.q_by_segments = lies_by_segments(prm.q, prm.q_stride, prm.head_dim_qk);
  plan.k_by_segments = lies_by_segments(prm.k, prm.k_stride, prm.head_dim_qk);
  plan.v_by_segments = lies_by_segments(prm.v, prm.v_stride, prm.head_dim_v);
  const std::size_t pair_bytes = 2 * size_bytes(prm.out_dtype);
  plan.out_by_pairs = reinterpret_cast<std::uintptr_t>(prm.out) % pair_bytes == 0 && prm.out_stride[3] == 1 &&
                      prm.head_dim_v % 2 == 0 && prm.out_stride[0] % 2 == 0 && prm.out_stride[1] % 2 == 0 &&
                      prm.out_stride[2] % 2 == 0;
  return plan;
}

template <class S>
void launch_flash_forward_mma_as(const FlashParams& prm, void* stream) {
  assert_that(prm.head_dim_qk <= S::kDQk && prm.head_dim_v <= S::kDV, "this kernel is cut for smaller head dims");
  const std::int64_t blocks = (prm.seqlen_q + S::kTileQ - 1) / S::kTileQ * prm.heads_q * prm.batch;
  if (blocks == 0) return;
  if (blocks > 2147483647) throw Error("flash_forward_mma: more than 2^31 - 1 tiles of query rows");
  launch(flash_forward_mma_kernel<S>, dim3(static_cast<unsigned>(blocks)), dim3(kMmaThreads), sizeof(typename S::Tiles),
         stream, prm, plan_of(prm));
}

/// Starts the kernel for head dims padded up to the next that it is cut for.
template <class T>
void launch_flash_forward_mma_of(const FlashParams& prm, void* stream) {
  const std::int64_t head_dim = max(prm.head_dim_qk, prm.head_dim_v);
  if (head_dim <= 32) return launch_flash_forward_mma_as<MmaShape<T, 32, 32>>(prm, stream);
  if (head_dim <= 64) return launch_flash_forward_mma_as<MmaShape<T, 64, 64>>(prm, stream);
  if (head_dim <= 96) return launch_flash_forward_mma_as<MmaShape<T, 96, 96>>(prm, stream);
  if (head_dim <= 128) return launch_flash_forward_mma_as<MmaShape<T, 128, 128>>(prm, stream);
  if (head_dim <= 192 && prm.head_dim_v <= 128) return launch_flash_forward_mma_as<MmaShape<T, 192, 128>>(prm, stream);
  if (head_dim <= 192) return launch_flash_forward_mma_as<MmaShape<T, 192, 192>>(prm, stream);
  return launch_flash_forward_mma_as<MmaShape<T, 256, 256>>(prm, stream);
}

inline void launch_flash_forward_mma(const FlashParams& prm, void* stream) {
  assert_that(prm.dtype == Dtype::kBf16 || prm.dtype == Dtype::kF16, "flash_forward_mma takes bf16 and fp16");
  assert_that(prm.out_dtype == prm.dtype || prm.out_dtype == Dtype::kF32,
              "flash_forward_mma writes O in its storage dtype or in fp32");
  assert_that(prm.head_dim_qk <= kFlashForwardMmaHeadDimMax && prm.head_dim_v <= kFlashForwardMmaHeadDimMax,
              "flash_forward_mma takes head dims of at most 256");
  constexpr std::int64_t kSeqlenMax = 2147483647 - 1024;
  if (prm.seqlen_q > kSeqlenMax || prm.seqlen_kv > kSeqlenMax) {
    throw Error("flash_forward_mma: sequences of 2^31 rows and more are not built");
  }
  if (prm.dtype == Dtype::kBf16) return launch_flash_forward_mma_of<bf16>(prm, stream);
  launch_flash_forward_mma_of<fp16>(prm, stream);
}

}  // namespace ringproof::SIMT_BACKEND
