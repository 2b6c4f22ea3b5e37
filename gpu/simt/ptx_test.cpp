// Each wrapper of gpu/simt/ptx.h against the PTX ISA's own statement of it: the element of the matrix that lane and
// index of a fragment's element name, written here as the ISA's tables write it (sections "Matrix Fragments for
// mma.m16n8k16 with floating point type", "... mma.m8n8k4 with .f64", "ldmatrix").

#include "gpu/simt/ptx.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "gpu/simt/ptx_probes.cuh"
#include "reference/spec/dtype.h"

namespace ringproof::SIMT_BACKEND {
namespace {

using namespace simt::api;

using Words = std::vector<std::uint32_t>;

struct Place {
  int row, col;
};

// mma.m16n8k16, .f16 / .bf16. A has elements a0..a7 per lane, B b0..b3, C and D c0..c3.
Place place_a(int lane, int i) {
  const int group = lane >> 2, thread_in_group = lane % 4;
  const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
  const int col = i < 4 ? thread_in_group * 2 + (i & 1) : thread_in_group * 2 + (i & 1) + 8;
  return {row, col};
}
Place place_b(int lane, int i) {
  const int group = lane >> 2, thread_in_group = lane % 4;
  return {i < 2 ? thread_in_group * 2 + (i & 1) : thread_in_group * 2 + (i & 1) + 8, group};
}
Place place_c(int lane, int i) {
  const int group = lane >> 2, thread_in_group = lane % 4;
  return {i < 2 ? group : group + 8, thread_in_group * 2 + (i & 1)};
}

/// Small integers: every product and sum is exact in every arithmetic.
int a_value(int row, int col) { return (row * 7 + col * 3) % 11 - 5; }
int b_value(int row, int col) { return (row * 5 + col * 13) % 17 - 8; }
int c_value(int row, int col) { return row * 29 - col * 31; }

template <class T>
std::uint32_t bits_of(int value) {
  return from_float<T>(static_cast<float>(value)).bits;
}

template <class T>
void expect_mma_m16n8k16_computes_the_product(T, const LaunchOptions& options) {
  Words in(32 * 10), out(32 * 8);
  for (int lane = 0; lane < 32; ++lane) {
    std::uint32_t* const x = &in[static_cast<std::size_t>(lane) * 10];
    for (int i = 0; i < 8; ++i)
      x[i / 2] |= bits_of<T>(a_value(place_a(lane, i).row, place_a(lane, i).col)) << (i % 2 * 16);
    for (int i = 0; i < 4; ++i) {
      x[4 + i / 2] |= bits_of<T>(b_value(place_b(lane, i).row, place_b(lane, i).col)) << (i % 2 * 16);
      x[6 + i] = std::bit_cast<std::uint32_t>(static_cast<float>(c_value(place_c(lane, i).row, place_c(lane, i).col)));
    }
  }
  launch(probe_mma_m16n8k16<T>, dim3(1), dim3(32), 0, &options, in.data(), out.data());
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const Place at = place_c(lane, i % 4);
      int want = c_value(at.row, at.col);
      for (int k = 0; k < 16; ++k) want += a_value(at.row, k) * b_value(k, at.col);
      EXPECT_EQ(std::bit_cast<float>(out[static_cast<std::size_t>(lane * 8 + i)]), static_cast<float>(want))
          << "lane " << lane << ", element " << i;
    }
  }
}

TEST(Ptx, MmaM16n8k16MultipliesByTheIsaLayoutInEveryArithmeticAndOrder) {
  for (const Order order : {Order::kForward, Order::kReverse, Order::kRandom}) {
    for (const MmaNumerics mma : {MmaNumerics::kSequentialFp32, MmaNumerics::kExactThenRound, MmaNumerics::kHopper}) {
      const LaunchOptions options = {order, 3, 1, mma};
      expect_mma_m16n8k16_computes_the_product(bf16{}, options);
      expect_mma_m16n8k16_computes_the_product(fp16{}, options);
    }
  }
}

TEST(Ptx, MmaM8n8k4F64MultipliesByTheIsaLayoutWithFusedSums) {
  const auto a_at = [](int row, int col) { return 1.0 + (row * 4 + col) * 0x1p-30; };
  const auto b_at = [](int row, int col) { return 1.0 - (row * 8 + col) * 0x1p-29; };
  const auto c_at = [](int row, int col) { return row == col ? -1.0 : col * 0x1p-60; };
  std::vector<double> in(32 * 4), out(32 * 2);
  for (int lane = 0; lane < 32; ++lane) {
    double* const x = &in[static_cast<std::size_t>(lane) * 4];
    x[0] = a_at(lane >> 2, lane % 4);
    x[1] = b_at(lane % 4, lane >> 2);
    for (int i = 0; i < 2; ++i) x[2 + i] = c_at(lane >> 2, lane % 4 * 2 + i);
  }
  launch(probe_mma_m8n8k4_f64, dim3(1), dim3(32), 0, nullptr, reinterpret_cast<const std::uint32_t*>(in.data()),
         reinterpret_cast<std::uint32_t*>(out.data()));
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 2; ++i) {
      const int row = lane >> 2, col = lane % 4 * 2 + i;
      double want = c_at(row, col);
      for (int k = 0; k < 4; ++k) want = std::fma(a_at(row, k), b_at(k, col), want);
      EXPECT_EQ(out[static_cast<std::size_t>(lane * 2 + i)], want) << "lane " << lane;
    }
  }
}

// ldmatrix: threads 0-7 hold the rows of matrix 0, 8-15 of matrix 1, and so on; row r of a matrix goes, two elements
// each, to threads 4 r .. 4 r + 3. With .trans each matrix is loaded in column-major format.
TEST(Ptx, LdmatrixDealsTheRowsOutByTheIsaLayout) {
  const auto element = [](int matrix, int row, int col) {
    return static_cast<std::uint32_t>(matrix * 1000 + row * 10 + col);
  };
  Words in(32 * 4), out(32 * 12);
  for (int lane = 0; lane < 32; ++lane) {
    for (int col = 0; col < 8; ++col) {
      in[static_cast<std::size_t>(lane * 4 + col / 2)] |= element(lane / 8, lane % 8, col) << (col % 2 * 16);
    }
  }
  launch(probe_ldmatrix, dim3(1), dim3(32), 512, nullptr, in.data(), out.data());
  for (int lane = 0; lane < 32; ++lane) {
    const int r = lane / 4, first = lane % 4 * 2;
    const auto pair = [&](int m) { return element(m, r, first) | element(m, r, first + 1) << 16; };
    const auto pair_trans = [&](int m) { return element(m, first, r) | element(m, first + 1, r) << 16; };
    const std::uint32_t* const y = &out[static_cast<std::size_t>(lane) * 12];
    for (int m = 0; m < 4; ++m) {
      EXPECT_EQ(y[m], pair(m));
      EXPECT_EQ(y[4 + m], pair_trans(m));
    }
    for (int m = 0; m < 2; ++m) {
      EXPECT_EQ(y[8 + m], pair(m));
      EXPECT_EQ(y[10 + m], pair_trans(m));
    }
  }
}

TEST(Ptx, CpAsyncCopiesSixteenEightAndFourBytesOrWritesZeros) {
  Words in(32 * 8), out(32 * 8, 1);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint32_t>(i * 2654435761u);
  launch(probe_cp_async, dim3(1), dim3(32), 32 * 32, nullptr, in.data(), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) EXPECT_EQ(out[i], i % 8 == 7 ? 0u : in[i]);
}

TEST(Ptx, NamedBarriersHandMemoryFromOneWarpToTheOther) {
  for (const Order order : {Order::kForward, Order::kReverse, Order::kRandom}) {
    const LaunchOptions options = {order, 5, 1};
    Words in(64), out(64, 0);
    for (std::uint32_t i = 0; i < 64; ++i) in[i] = 100 + i;
    launch(probe_named_barriers, dim3(1), dim3(64), 256, &options, in.data(), out.data());
    for (std::uint32_t i = 0; i < 64; ++i) EXPECT_EQ(out[i], 100 + (i + 32) % 64);
  }
}

TEST(Ptx, AtomicsChangeTheirCell) {
  Words in = {5, 77, 99, 0xffffffffu}, out(20);
  launch(probe_atomics, dim3(1), dim3(4), 0, nullptr, in.data(), out.data());
  for (std::size_t i = 0; i < 4; ++i) {
    const Words got(out.begin() + static_cast<std::ptrdiff_t>(5 * i),
                    out.begin() + static_cast<std::ptrdiff_t>(5 * i + 5));
    EXPECT_EQ(got, (Words{77 + in[i], std::max(77u, in[i]), std::min(77u, in[i]), in[i], in[i]}));
  }
}

// What is said of NaN, infinities and overflow, on every value of 16 bits and on floats between them.
template <class T>
void expect_conversions_round_as(T, Dtype dtype) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const T stored = {static_cast<std::uint16_t>(bits)};
    const double want = load(&stored, dtype);
    const float got = to_float(stored);
    ASSERT_TRUE(std::isnan(want) ? std::isnan(got)
                                 : got == static_cast<float>(want) && std::signbit(got) == std::signbit(want))
        << "bits " << bits;
  }
  std::mt19937 random(7);
  for (int i = 0; i < 200000; ++i) {
    std::uint32_t bits = static_cast<std::uint32_t>(random());
    if (i % 2 == 0) bits = (bits & 0x83ffffffu) + 0x36000000u;  // where fp16 is subnormal, normal, or overflows
    if (i % 5 == 0) bits &= 0xfffff000u;                        // ties
    const float value = std::bit_cast<float>(bits);
    T want;
    store(&want, dtype, static_cast<double>(value));
    if (std::isnan(value)) want.bits = 0x7fff;
    ASSERT_EQ(from_float<T>(value).bits, want.bits) << std::hexfloat << value;
    ASSERT_EQ((pack<T>(value, 1.0f)), from_float<T>(1.0f).bits << 16 | std::uint32_t{want.bits});
  }
}

TEST(Ptx, ConversionsRoundToNearestEven) {
  expect_conversions_round_as(bf16{}, Dtype::kBf16);
  expect_conversions_round_as(fp16{}, Dtype::kF16);
}

TEST(Ptx, Exp2ApproxFlushesSubnormals) {
  const float infinity = INFINITY;
  EXPECT_EQ(exp2_approx(0.0f), 1.0f);
  EXPECT_EQ(exp2_approx(-3.0f), 0.125f);
  EXPECT_EQ(exp2_approx(0x1p-130f), 1.0f);
  EXPECT_EQ(exp2_approx(-126.0f), 0x1p-126f);
  EXPECT_EQ(exp2_approx(-126.5f), 0.0f);
  EXPECT_EQ(exp2_approx(-infinity), 0.0f);
  EXPECT_EQ(exp2_approx(128.0f), infinity);
  EXPECT_TRUE(std::isnan(exp2_approx(NAN)));
  EXPECT_EQ(exp2_approx(0.5f), static_cast<float>(std::sqrt(2.0)));
}

}  // namespace
}  // namespace ringproof::SIMT_BACKEND
