// A warp's instruction is carried out once, for all 32 lanes, by the lane that arrives last. Fragments are laid out as
// the PTX ISA says, with g = lane / 4 and t = 2 (lane % 4).

#include "gpu/simt/ptx_host.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "gpu/simt/mma.h"

namespace ringproof::simt::host {
namespace {

struct MmaLane {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
  const float* c;
};

void put_pair(std::uint16_t* at, std::uint32_t pair) { std::memcpy(at, &pair, sizeof(pair)); }

template <void (*kMultiply)(MmaTile&, MmaNumerics)>
void run_mma(void* const* lanes) {
  static_assert(std::endian::native == std::endian::little);
  MmaTile tile;
  for (int lane = 0; lane < 32; ++lane) {
    const MmaLane& x = *static_cast<const MmaLane*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4 * 2;
    put_pair(&tile.a[g][t], x.a[0]);
    put_pair(&tile.a[g + 8][t], x.a[1]);
    put_pair(&tile.a[g][t + 8], x.a[2]);
    put_pair(&tile.a[g + 8][t + 8], x.a[3]);
    for (int i = 0; i < 2; ++i) {
      tile.b[t + 8 * i][g] = static_cast<std::uint16_t>(x.b[i]);
      tile.b[t + 8 * i + 1][g] = static_cast<std::uint16_t>(x.b[i] >> 16);
    }
    std::memcpy(&tile.c[g][t], x.c, 2 * sizeof(float));
    std::memcpy(&tile.c[g + 8][t], x.c + 2, 2 * sizeof(float));
  }
  kMultiply(tile, mma_numerics());
  for (int lane = 0; lane < 32; ++lane) {
    const MmaLane& x = *static_cast<const MmaLane*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4 * 2;
    std::memcpy(x.d, &tile.c[g][t], 2 * sizeof(float));
    std::memcpy(x.d + 2, &tile.c[g + 8][t], 2 * sizeof(float));
  }
}

struct MmaF64Lane {
  double* d;
  double a, b;
  const double* c;
};

void run_mma_f64(void* const* lanes) {
  constexpr int kM = 8, kN = 8, kK = 4;
  double a[kM][kK], b[kK][kN], c[kM][kN];
  for (int lane = 0; lane < 32; ++lane) {
    const MmaF64Lane& x = *static_cast<const MmaF64Lane*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    a[g][t] = x.a;
    b[t][g] = x.b;
    c[g][2 * t] = x.c[0];
    c[g][2 * t + 1] = x.c[1];
  }
  for (int m = 0; m < kM; ++m) {
    for (int k = 0; k < kK; ++k) {
      for (int n = 0; n < kN; ++n) c[m][n] = std::fma(a[m][k], b[k][n], c[m][n]);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const MmaF64Lane& x = *static_cast<const MmaF64Lane*>(lanes[lane]);
    x.d[0] = c[lane / 4][lane % 4 * 2];
    x.d[1] = c[lane / 4][lane % 4 * 2 + 1];
  }
}

struct LdmatrixLane {
  std::uint32_t* r;
  const void* row;
};

template <int kMatrices, bool kTranspose>
void run_ldmatrix(void* const* lanes) {
  for (int i = 0; i < kMatrices; ++i) {
    std::uint16_t matrix[8][8];
    for (int j = 0; j < 8; ++j) {
      std::memcpy(matrix[j], static_cast<const LdmatrixLane*>(lanes[8 * i + j])->row, sizeof(matrix[j]));
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4 * 2;
      const std::uint32_t low = kTranspose ? matrix[t][g] : matrix[g][t];
      const std::uint32_t high = kTranspose ? matrix[t + 1][g] : matrix[g][t + 1];
      static_cast<LdmatrixLane*>(lanes[lane])->r[i] = low | high << 16;
    }
  }
}

template <int kMatrices, bool kTranspose>
void ldmatrix(WarpOperation operation, std::uint32_t* r, const void* row, const Site& site) {
  prepare_matrix_row(row, 8 * kMatrices, site);
  LdmatrixLane own = {r, row};
  warp_collective(operation, run_ldmatrix<kMatrices, kTranspose>, &own, site);
}

}  // namespace

void mma_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b, const float* c, const Site& site) {
  MmaLane own = {d, a, b, c};
  warp_collective(WarpOperation::kMmaBf16, run_mma<multiply_accumulate_bf16>, &own, site);
}

void mma_fp16(float* d, const std::uint32_t* a, const std::uint32_t* b, const float* c, const Site& site) {
  MmaLane own = {d, a, b, c};
  warp_collective(WarpOperation::kMmaFp16, run_mma<multiply_accumulate_fp16>, &own, site);
}

void mma_m8n8k4_f64(double (&d)[2], double a, double b, const double (&c)[2], Site site) {
  MmaF64Lane own = {d, a, b, c};
  warp_collective(WarpOperation::kMmaF64, run_mma_f64, &own, site);
}

void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, Site site) {
  ldmatrix<4, false>(WarpOperation::kLdmatrixX4, r, row, site);
}
void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, Site site) {
  ldmatrix<4, true>(WarpOperation::kLdmatrixX4Trans, r, row, site);
}
void ldmatrix_x2(std::uint32_t (&r)[2], const void* row, Site site) {
  ldmatrix<2, false>(WarpOperation::kLdmatrixX2, r, row, site);
}
void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row, Site site) {
  ldmatrix<2, true>(WarpOperation::kLdmatrixX2Trans, r, row, site);
}

float exp2_approx(float x) {
  if (std::isnan(x)) return std::bit_cast<float>(0x7fffffffu);
  // Subnormal inputs need no flushing: their power of 2 rounds to 1.
  const float result = static_cast<float>(std::exp2(static_cast<double>(x)));
  return result < 0x1p-126f ? 0.0f : result;
}

}  // namespace ringproof::simt::host
