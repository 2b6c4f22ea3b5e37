#include "reference/oracle/fast/panel_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
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
  EXPECT_EQ(count, 1 + (has_avx2 ? 1 : 0) + (has_avx512 ? 1 : 0) + (has_pairs() ? 1 : 0));
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

// `count` numbers of one sum as words, each `step` words behind the one before.
void store_words(const PanelKernels& kernels, const std::vector<float>& numbers, Word* to, std::int64_t step) {
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto bits = std::bit_cast<Word>(numbers[i]);
    Word& word = to[static_cast<std::int64_t>(i) / kernels.per_word * step];
    if (kernels.per_word == 1) word = bits;
    if (kernels.per_word == 2) word |= i % 2 == 0 ? bits >> 16 : bits & 0xffff0000u;
  }
}

// Small integers: every sum is exact, whatever its order.
TEST(PanelKernels, MultiplyIntegersExactly) {
  on_every_target([](const std::string& target) {
    const PanelKernels kernels = panel_kernels();
    const std::int64_t width = kernels.queries, d = 11, stride = 24, keys = kBlockKeys;
    const Aligned<double> q = aligned_zeros<double>(d * width), k = aligned_zeros<double>(keys * stride),
                          score = aligned_zeros<double>(keys * width), out = aligned_zeros<double>(kGroup * width),
                          v = aligned_zeros<double>(keys * kGroup), rescale = aligned_zeros<double>(width);
    for (std::int64_t i = 0; i < d * width; ++i) q[i] = small_integer(i);
    for (std::int64_t i = 0; i < keys * stride; ++i) k[i] = small_integer(i + 5);
    kernels.scores(q.get(), k.get(), stride, d, 0.5, 2, score.get());
    for (std::int64_t key = 0; key < keys; ++key) {
      for (std::int64_t i = 0; i < width; ++i) {
        double want = 0;
        for (std::int64_t c = 0; c < d; ++c) want += q[kernels.place(c, d, i)] * k[key * stride + c];
        EXPECT_EQ(score[kernels.place(key, keys, i)], 0.5 * want) << target << " key " << key << " query " << i;
      }
    }
    std::vector<float> rows(static_cast<std::size_t>(width * (keys + 16)));
    kernels.transpose(score.get(), 0.25, rows.data(), keys + 16);
    for (std::int64_t i = 0; i < width; ++i) {
      for (std::int64_t key = 0; key < keys; ++key) {
        EXPECT_EQ(rows[static_cast<std::size_t>(i * (keys + 16) + key)], 0.25 * score[kernels.place(key, keys, i)]);
      }
    }
    for (std::int64_t i = 0; i < width; ++i) rescale[i] = static_cast<double>(i % 3);
    for (std::int64_t i = 0; i < kGroup * width; ++i) out[i] = small_integer(i);
    const std::vector<double> older(out.get(), out.get() + kGroup * width);
    for (std::int64_t i = 0; i < keys * kGroup; ++i) v[i] = small_integer(i + 2);
    kernels.values(score.get(), v.get(), 1, rescale.get(), 2, out.get());
    for (std::int64_t c = 0; c < kGroup; ++c) {
      for (std::int64_t i = 0; i < width; ++i) {
        const std::int64_t at = kernels.place(c, kGroup, i);
        double want = older[static_cast<std::size_t>(at)] * rescale[i];
        for (std::int64_t key = 0; key < keys; ++key) want += score[kernels.place(key, keys, i)] * v[key * kGroup + c];
        EXPECT_EQ(out[at], want) << target << " column " << c << " query " << i;
      }
    }
  });
}

TEST(PanelKernels, MultiplyWordsOfIntegersExactly) {
  on_every_target([](const std::string& target) {
    const PanelKernels kernels = panel_kernels();
    const std::int64_t width = kernels.queries, d = 11, stride = 16, keys = kBlockKeys;
    const auto numbers = [](std::int64_t count, std::int64_t from) {
      std::vector<float> all;
      for (std::int64_t i = 0; i < count; ++i) all.push_back(static_cast<float>(small_integer(from + 3 * i)));
      return all;
    };
    const Aligned<Word> q = aligned_zeros<Word>(d * width), k = aligned_zeros<Word>(keys * stride),
                        weight = aligned_zeros<Word>(keys * width), v = aligned_zeros<Word>(keys * kGroup);
    const Aligned<float> sum = aligned_zeros<float>(keys * width), out = aligned_zeros<float>(kGroup * width),
                         rescale = aligned_zeros<float>(width);
    for (std::int64_t i = 0; i < width; ++i) {
      store_words(kernels, numbers(d, i), q.get() + i, width);
      store_words(kernels, numbers(keys, i), weight.get() + i, width);
      rescale[i] = static_cast<float>(i % 3);
    }
    for (std::int64_t key = 0; key < keys; ++key) store_words(kernels, numbers(d, 7 + key), k.get() + key * stride, 1);
    for (std::int64_t c = 0; c < kGroup; ++c) store_words(kernels, numbers(keys, 50 + c), v.get() + c, kGroup);
    for (std::int64_t i = 0; i < kGroup * width; ++i) out[i] = static_cast<float>(small_integer(i));
    kernels.magnitudes(q.get(), k.get(), stride, kernels.words(d), sum.get());
    kernels.values_single(weight.get(), v.get(), 1, rescale.get(), out.get());
    const auto product = [&](const std::vector<float>& one, const std::vector<float>& other) {
      return std::inner_product(one.begin(), one.end(), other.begin(), 0.0);
    };
    for (std::int64_t i = 0; i < width; ++i) {
      for (std::int64_t key = 0; key < keys; ++key)
        EXPECT_EQ(sum[key * width + i], product(numbers(d, i), numbers(d, 7 + key))) << target;
      for (std::int64_t c = 0; c < kGroup; ++c) {
        const double older = small_integer(c * width + i) * rescale[i];
        EXPECT_EQ(out[c * width + i], older + product(numbers(keys, i), numbers(keys, 50 + c))) << target;
      }
    }
  });
}

// What the bound's derivation allows beside the error of the argument; the answer of long double is exact here.
TEST(PanelKernels, CapScoresWithinTheUlpsOfTheDerivation) {
  on_every_target([](const std::string& target) {
    const PanelKernels kernels = panel_kernels();
    const std::int64_t count = kBlockKeys * kernels.queries;
    const Aligned<double> score = aligned_zeros<double>(count);
    for (const double cap : {0.3, 20.0, 50.0}) {
      const auto argument = [&](std::int64_t i) {
        const double sign = i % 2 == 0 ? 1 : -1;
        return i == 0 ? 0.0 : sign * cap * std::exp2(static_cast<double>(i % 997) / 40 - 15) * (1 + 1e-3 * i);
      };
      for (std::int64_t i = 0; i < count; ++i) score[i] = argument(i);
      kernels.cap(score.get(), 2, cap);
      EXPECT_EQ(score[0], 0);
      double worst = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        const long double want = cap * std::tanh(static_cast<long double>(argument(i)) / cap);
        worst = std::max(worst, static_cast<double>(std::fabs(score[i] - want)) / (0x1p-53 * cap));
      }
      std::printf("%s: capped at %g within %.2f u cap\n", target.c_str(), cap, worst);
      EXPECT_LE(worst, kFastCapUlps) << target;
    }
  });
}

}  // namespace
}  // namespace ringproof
