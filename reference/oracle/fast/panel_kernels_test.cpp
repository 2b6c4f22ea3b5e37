#include "reference/oracle/fast/panel_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "reference/oracle/fast/memory.h"
#include "reference/oracle/fast/targets_test.h"

namespace ringproof {
namespace {

TEST(PanelKernels, AreCompiledForEveryInstructionSetOfX86) {
  int count = 0;
  on_every_target([&](const std::string&) { ++count; });
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
  EXPECT_EQ(count, 1 + (has_avx2 ? 1 : 0) + (has_avx512 ? 1 : 0));
#else
  EXPECT_GE(count, 1);
#endif
}

// x: every 2^-14 from 0 to -64 with irregular low bits, then coarser to -1022. The bound's derivation assumes 2 ulp.
TEST(PanelKernels, RaiseTwoToAPowerWithinTwoUlps) {
  on_every_target([](const std::string& target) {
    const PanelKernels kernels = panel_kernels();
    const std::int64_t count = (1 << 20) / kernels.queries * kernels.queries;
    const Aligned<double> x = aligned_zeros<double>(count), y = aligned_zeros<double>(count);
    double worst = 0, worst_at = 0;
    for (const double step : {0x1p-14, 0x1p-10}) {
      for (std::int64_t i = 0; i < count; ++i) {
        const double jitter = static_cast<double>(i * 2654435761 % 4096) * step * 0x1p-13;
        x[i] = std::max(-1021.0, -static_cast<double>(i) * step - jitter);
      }
      kernels.exp2(x.get(), y.get(), count);
      for (std::int64_t i = 0; i < count; ++i) {
        const long double want = std::exp2(static_cast<long double>(x[i]));
        const double ulp = std::ldexp(1.0, std::ilogb(static_cast<double>(want)) - 52);
        const auto error = static_cast<double>(std::fabs(static_cast<long double>(y[i]) - want) / ulp);
        if (error > worst) worst = error, worst_at = x[i];
      }
    }
    std::printf("%s: exp2 within %.3f ulp, worst at %.17g\n", target.c_str(), worst, worst_at);
    EXPECT_LE(worst, 2) << target;
  });
}

TEST(PanelKernels, RaiseTwoToZeroAndFarBelowExactly) {
  on_every_target([](const std::string& target) {
    const PanelKernels kernels = panel_kernels();
    const Aligned<double> x = aligned_zeros<double>(kernels.queries), y = aligned_zeros<double>(kernels.queries);
    const double in[]{0, -1, -1021, -1021.5, -1443, -0.5};
    std::copy(std::begin(in), std::end(in), x.get());
    kernels.exp2(x.get(), y.get(), kernels.queries);
    EXPECT_EQ(y[0], 1) << target;
    EXPECT_EQ(y[1], 0.5) << target;
    EXPECT_EQ(y[2], 0x1p-1021) << target;
    EXPECT_EQ(y[3], 0) << target;
    EXPECT_EQ(y[4], 0) << target;
    EXPECT_EQ(y[5], std::sqrt(0.5)) << target;
  });
}

double small_integer(std::int64_t i) { return static_cast<double>((i * 7 + 3) % 17 - 8); }

// Small integers: every sum is exact, whatever its order.
TEST(PanelKernels, MultiplyIntegersExactly) {
  on_every_target([](const std::string& target) {
    const PanelKernels kernels = panel_kernels();
    const std::int64_t width = kernels.queries, d = 11, keys = kBlockKeys;
    const Aligned<double> q = aligned_zeros<double>(d * width), k = aligned_zeros<double>(keys * d),
                          score = aligned_zeros<double>(keys * width), out = aligned_zeros<double>(kGroup * width),
                          v = aligned_zeros<double>(keys * kGroup), rescale = aligned_zeros<double>(width);
    const Aligned<float> q_abs = aligned_zeros<float>(d * width), k_abs = aligned_zeros<float>(keys * d),
                         sum_abs = aligned_zeros<float>(keys * width);
    for (std::int64_t i = 0; i < d * width; ++i) q_abs[i] = static_cast<float>(std::fabs(q[i] = small_integer(i)));
    for (std::int64_t i = 0; i < keys * d; ++i) k_abs[i] = static_cast<float>(std::fabs(k[i] = small_integer(i + 5)));
    kernels.scores(q.get(), q_abs.get(), k.get(), k_abs.get(), d, 0.5, score.get(), sum_abs.get());
    for (std::int64_t key = 0; key < keys; ++key) {
      for (std::int64_t i = 0; i < width; ++i) {
        double want = 0, want_abs = 0;
        for (std::int64_t c = 0; c < d; ++c) {
          const double product = q[c * width + i] * k[(key / kGroup * d + c) * kGroup + key % kGroup];
          want += product;
          want_abs += std::fabs(product);
        }
        EXPECT_EQ(score[key * width + i], 0.5 * want) << target << " key " << key << " query " << i;
        EXPECT_EQ(sum_abs[key * width + i], want_abs) << target << " key " << key << " query " << i;
      }
    }
    std::vector<float> rows(static_cast<std::size_t>(width * (keys + 16)));
    kernels.transpose(score.get(), 0.25, rows.data(), keys + 16);
    for (std::int64_t i = 0; i < width; ++i) {
      for (std::int64_t key = 0; key < keys; ++key) {
        EXPECT_EQ(rows[static_cast<std::size_t>(i * (keys + 16) + key)], 0.25 * score[key * width + i]);
      }
    }
    for (std::int64_t i = 0; i < width; ++i) rescale[i] = static_cast<double>(i % 3);
    for (std::int64_t i = 0; i < kGroup * width; ++i) out[i] = small_integer(i);
    for (std::int64_t i = 0; i < keys * kGroup; ++i) v[i] = small_integer(i + 2);
    kernels.values(score.get(), v.get(), 1, rescale.get(), out.get());
    for (std::int64_t c = 0; c < kGroup; ++c) {
      for (std::int64_t i = 0; i < width; ++i) {
        double want = small_integer(c * width + i) * rescale[i];
        for (std::int64_t key = 0; key < keys; ++key) want += score[key * width + i] * v[key * kGroup + c];
        EXPECT_EQ(out[c * width + i], want) << target << " column " << c << " query " << i;
      }
    }
  });
}

}  // namespace
}  // namespace ringproof
