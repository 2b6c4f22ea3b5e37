// What flash_forward_fp32 must do to the last bit: inputs whose answers fp32 holds exactly, and runs that must agree
// with one another. How accurate it is on ordinary inputs is for the judge to say.

#include "gpu/flash_forward_fp32.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "gpu/flash_problem.h"
#include "gpu/simt/runtime.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

using simt::host::LaunchOptions;
using simt::host::Order;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();

struct Sizes {
  std::int64_t batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v;
};

/// A tensor in memory of its own; what lies between its elements and around them holds NaN.
struct Buffer {
  static constexpr std::int64_t kGuard = 16;
  Shape shape, stride;
  std::vector<float> memory;

  explicit Buffer(const Shape& s) : Buffer(s, dense_strides(s)) {}
  Buffer(const Shape& s, const Shape& strides) : shape(s), stride(strides) {
    std::int64_t last = 0;
    for (std::size_t axis = 0; axis < 4; ++axis) last += std::max<std::int64_t>(0, s[axis] - 1) * strides[axis];
    memory.assign(static_cast<std::size_t>(last + 1 + 2 * kGuard), kNan);
  }
  TensorView view() { return {memory.data() + kGuard, Dtype::kF32, -1, shape, stride}; }
  float& at(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) {
    return memory[static_cast<std::size_t>(kGuard + view().offset(b, h, s, d))];
  }
  template <class F>
  Buffer& fill(F value) {
    for (std::int64_t b = 0; b < shape[0]; ++b) {
      for (std::int64_t h = 0; h < shape[1]; ++h) {
        for (std::int64_t s = 0; s < shape[2]; ++s) {
          for (std::int64_t d = 0; d < shape[3]; ++d) at(b, h, s, d) = static_cast<float>(value(b, h, s, d));
        }
      }
    }
    return *this;
  }
};

struct Attention {
  Sizes sizes;
  Band band{-kUnbounded, kUnbounded};
  double scale = 1;
  Buffer q, k, v, out, lse;

  explicit Attention(const Sizes& s)
      : sizes(s),
        q({s.batch, s.heads_q, s.seqlen_q, s.head_dim_qk}),
        k({s.batch, s.heads_kv, s.seqlen_kv, s.head_dim_qk}),
        v({s.batch, s.heads_kv, s.seqlen_kv, s.head_dim_v}),
        out({s.batch, s.heads_q, s.seqlen_q, s.head_dim_v}),
        lse({s.batch, s.heads_q, s.seqlen_q, 1}) {}

  void run(const LaunchOptions& options = {}) {
    const TensorView lse_view = lse.view();
    LaunchOptions copy = options;
    on_host::flash_forward_fp32(params(&lse_view), &copy);
  }
  FlashParams params(const TensorView* lse_view) {
    return params_of(q.view(), k.view(), v.view(), out.view(), lse_view);
  }
  FlashParams params_of(const TensorView& q_view, const TensorView& k_view, const TensorView& v_view,
                        const TensorView& out_view, const TensorView* lse_view) const {
    LocalProblem problem{};
    problem.band = band;
    problem.softmax_scale = scale;
    return make_flash_params(problem, q_view, k_view, v_view, out_view, lse_view);
  }
  bool sees(std::int64_t row, std::int64_t key) const { return row + band.lo <= key && key <= row + band.hi; }
};

/// A number in (-1, 1) that depends on every index.
double noise(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) {
  std::uint64_t x = static_cast<std::uint64_t>(((b * 131 + h) * 65537 + s) * 257 + d) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
  return static_cast<double>(static_cast<std::int64_t>(x >> 40)) * 0x1p-23 - 1.0;
}

void fill_with_noise(Attention& a) {
  a.scale = 1.5;
  a.q.fill([](auto b, auto h, auto s, auto d) { return noise(b, h, s, d); });
  a.k.fill([](auto b, auto h, auto s, auto d) { return noise(b, h, s + 1000, d); });
  a.v.fill([](auto b, auto h, auto s, auto d) { return noise(b, h, s + 2000, d); });
}

/// Bitwise, but for the many faces of NaN.
bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

/// Requires equal bits in all rows of O and lse for which `judged(row)` holds.
template <class F>
void expect_same_rows(Attention& want, Attention& got, F judged) {
  const Sizes& n = want.sizes;
  int different = 0;
  for (std::int64_t b = 0; b < n.batch; ++b) {
    for (std::int64_t h = 0; h < n.heads_q; ++h) {
      for (std::int64_t i = 0; i < n.seqlen_q; ++i) {
        if (!judged(i)) continue;
        if (!same(want.lse.at(b, h, i, 0), got.lse.at(b, h, i, 0))) ++different;
        for (std::int64_t c = 0; c < n.head_dim_v; ++c) {
          if (!same(want.out.at(b, h, i, c), got.out.at(b, h, i, c))) ++different;
        }
      }
    }
  }
  EXPECT_EQ(different, 0);
}

bool every_row(std::int64_t) { return true; }

const std::vector<Sizes> kShapes = {
    {1, 1, 1, 1, 1, 1, 1},        {1, 1, 1, 63, 65, 8, 8},      {2, 6, 2, 64, 64, 33, 17},
    {1, 2, 1, 130, 70, 64, 128},  {1, 1, 1, 65, 129, 128, 5},   {2, 2, 2, 70, 200, 32, 32},
    {1, 2, 1, 66, 70, 192, 130},
};
const std::vector<Band> kBands = {
    {-kUnbounded, kUnbounded}, {-kUnbounded, 0}, {-kUnbounded, 5}, {-3, 3},        {60, kUnbounded},
    {-kUnbounded, -66},        {-70, -64},       {2, 1},           {kInt64Min, kInt64Max}, {-64, kInt64Max},
};

TEST(FlashForwardFp32, RowOfEqualScoresIsTheMeanOfItsKeysToTheLastBit) {
  const auto value = [](auto b, auto h, auto s, auto d) { return (b * 7 + h * 5 + s * 3 + d) % 17 - 8; };
  for (const Sizes& n : kShapes) {
    for (const Band& band : kBands) {
      Attention a(n);
      a.band = band;
      a.q.fill([](auto, auto, auto, auto) { return 0; });
      a.k.fill(noise);
      a.v.fill(value);
      a.run();
      for (std::int64_t b = 0; b < n.batch; ++b) {
        for (std::int64_t h = 0; h < n.heads_q; ++h) {
          for (std::int64_t i = 0; i < n.seqlen_q; ++i) {
            const Band finite = {std::max(band.lo, -kUnbounded), std::min(band.hi, kUnbounded)};
            const KeyRange keys = visible_keys(finite, i, n.seqlen_kv);
            const auto count = static_cast<float>(keys.count());
            ASSERT_EQ(a.lse.at(b, h, i, 0), keys.count() > 0 ? std::log(count) : -kInfinity) << "row " << i;
            for (std::int64_t c = 0; c < n.head_dim_v; ++c) {
              std::int64_t sum = 0;
              for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += value(b, h / (n.heads_q / n.heads_kv), j, c);
              ASSERT_EQ(a.out.at(b, h, i, c), keys.count() > 0 ? static_cast<float>(sum) / count : 0.0f)
                  << "band " << band.lo << " " << band.hi << " row " << i << " column " << c;
            }
          }
        }
      }
    }
  }
}

// q = (2 t, -1), k_j = (j, j^2): the score 200 (t^2 - (j - t)^2) leads at j = t by at least 200, and exp(-200) is 0.
TEST(FlashForwardFp32, RowWithOneLargeScoreReturnsThatValueWhereverItStands) {
  constexpr std::int64_t kKeys = 150;
  Attention a({1, 1, 1, kKeys, kKeys, 2, 3});
  const auto target = [](std::int64_t row) { return row * 37 % kKeys; };
  a.scale = 200;
  a.q.fill([&](auto, auto, auto s, auto d) { return d == 0 ? 2 * target(s) : -1; });
  a.k.fill([](auto, auto, auto s, auto d) { return d == 0 ? s : s * s; });
  a.v.fill(noise);
  a.run();
  for (std::int64_t i = 0; i < kKeys; ++i) {
    const std::int64_t t = target(i);
    EXPECT_EQ(a.lse.at(0, 0, i, 0), static_cast<float>(200 * t * t));
    for (std::int64_t c = 0; c < 3; ++c) EXPECT_EQ(a.out.at(0, 0, i, c), a.v.at(0, 0, t, c)) << "row " << i;
  }
}

// Scores with both signs turned are the same scores to the last bit.
TEST(FlashForwardFp32, NegativeScaleTurnsTheScores) {
  Attention plus({1, 1, 1, 70, 90, 16, 16}), minus({1, 1, 1, 70, 90, 16, 16});
  fill_with_noise(plus);
  fill_with_noise(minus);
  minus.scale = -plus.scale;
  minus.q.fill([](auto b, auto h, auto s, auto d) { return -noise(b, h, s, d); });
  plus.run();
  minus.run();
  expect_same_rows(plus, minus, every_row);
}

TEST(FlashForwardFp32, OrderOfThreadsAndTheirCountChangeNoBit) {
  for (const Sizes& n : {kShapes[2], kShapes[3], kShapes[5]}) {
    Attention want(n);
    fill_with_noise(want);
    want.band = {-90, 10};
    want.run({Order::kForward, 0, 1});
    for (const LaunchOptions& options : {LaunchOptions{Order::kReverse, 0, 1}, LaunchOptions{Order::kRandom, 1, 1},
                                         LaunchOptions{Order::kRandom, 2, 2}, LaunchOptions{Order::kForward, 0, 3}}) {
      Attention got(n);
      fill_with_noise(got);
      got.band = want.band;
      got.run(options);
      expect_same_rows(want, got, every_row);
    }
  }
}

TEST(FlashForwardFp32, NanInWhatARowDoesNotSeeDoesNotTouchIt) {
  for (const Band band : {Band{-kUnbounded, 0}, Band{-20, 3}, Band{10, kUnbounded}}) {
    for (const std::int64_t key : {0, 5, 64, 99}) {
      Attention want({1, 2, 1, 100, 100, 24, 40}), got(want);
      for (Attention* a : {&want, &got}) {
        a->band = band;
        fill_with_noise(*a);
      }
      for (std::int64_t d = 0; d < 24; ++d) got.k.at(0, 0, key, d) = kNan;
      for (std::int64_t d = 0; d < 40; ++d) got.v.at(0, 0, key, d) = kNan;
      want.run();
      got.run();
      expect_same_rows(want, got, [&](std::int64_t row) { return !want.sees(row, key); });
    }
  }
}

TEST(FlashForwardFp32, NanInAKeyReachesEveryRowThatSeesIt) {
  Attention a({1, 1, 1, 100, 100, 24, 40});
  fill_with_noise(a);
  a.band = {-kUnbounded, 0};
  a.k.at(0, 0, 70, 3) = kNan;
  a.run();
  for (std::int64_t i = 0; i < 100; ++i) {
    const float lse = a.lse.at(0, 0, i, 0);
    EXPECT_EQ(std::isnan(lse) || lse == kInfinity, i >= 70) << "row " << i;
    for (std::int64_t c = 0; c < 40; ++c) EXPECT_EQ(std::isnan(a.out.at(0, 0, i, c)), i >= 70) << "row " << i;
  }
}

TEST(FlashForwardFp32, NanInAQueryStaysInItsRow) {
  Attention a({1, 1, 1, 100, 100, 24, 40});
  fill_with_noise(a);
  a.q.at(0, 0, 41, 0) = kNan;
  a.run();
  for (std::int64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(std::isnan(a.lse.at(0, 0, i, 0)), i == 41);
    for (std::int64_t c = 0; c < 40; ++c) EXPECT_EQ(std::isnan(a.out.at(0, 0, i, c)), i == 41) << "row " << i;
  }
}

// Also where the weight of that value underflows to 0.
TEST(FlashForwardFp32, NanInAValueReachesItsColumnOfEveryRowThatSeesIt) {
  Attention a({1, 1, 1, 100, 100, 2, 40});
  a.scale = 200;
  a.q.fill([](auto, auto, auto s, auto d) { return d == 0 ? 2 * s : -1; });
  a.k.fill([](auto, auto, auto s, auto d) { return d == 0 ? s : s * s; });
  a.v.fill(noise);
  a.band = {-50, 10};
  a.v.at(0, 0, 66, 7) = kNan;
  a.run();
  for (std::int64_t i = 0; i < 100; ++i) {
    EXPECT_FALSE(std::isnan(a.lse.at(0, 0, i, 0)));
    for (std::int64_t c = 0; c < 40; ++c) {
      EXPECT_EQ(std::isnan(a.out.at(0, 0, i, c)), c == 7 && a.sees(i, 66)) << "row " << i << " column " << c;
    }
  }
}

TEST(FlashForwardFp32, StridesChangeNoBitAndNothingBetweenTheElementsIsTouched) {
  const Sizes n = {2, 4, 2, 70, 90, 20, 12};
  Attention want(n), got(n);
  fill_with_noise(want);
  // Rows with gaps, sequence before heads, every second element, dims before rows; V the same for both its heads.
  got.q = Buffer(want.q.shape, {70 * 4 * 23, 23, 4 * 23, 1});
  got.k = Buffer(want.k.shape, {90 * 2 * 40, 90 * 40, 40, 2});
  got.v = Buffer(want.v.shape, {90 * 12, 0, 1, 90});
  got.out = Buffer(want.out.shape, {70 * 4 * 29, 29, 4 * 29, 2});
  got.lse = Buffer(want.lse.shape, {1000, 1, 5, 77});
  fill_with_noise(got);
  want.v.fill([&](auto b, auto, auto s, auto d) { return got.v.at(b, 0, s, d); });
  const std::vector<float> want_memory = got.out.memory;
  want.run();
  got.run();
  expect_same_rows(want, got, every_row);
  Buffer holes = got.out;
  holes.fill([](auto, auto, auto, auto) { return kNan; });
  EXPECT_EQ(std::memcmp(holes.memory.data(), want_memory.data(), want_memory.size() * sizeof(float)), 0);
}

/// A dense tensor whose last element ends where readable memory ends.
class TensorAtPageEnd {
 public:
  explicit TensorAtPageEnd(Buffer& from) {
    const std::size_t page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(element_count(from.shape)) * sizeof(float);
    const std::size_t readable_bytes = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    mapped_bytes_ = readable_bytes + page_bytes;
    base_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* const end = static_cast<char*>(base_) + readable_bytes;
    if (base_ == MAP_FAILED || mprotect(end, page_bytes, PROT_NONE) != 0) throw Error("no memory for a test tensor");
    view_ = {end - bytes, Dtype::kF32, -1, from.shape, dense_strides(from.shape)};
    copy_elements(from.view(), view_);
  }
  ~TensorAtPageEnd() { munmap(base_, mapped_bytes_); }
  TensorAtPageEnd(const TensorAtPageEnd&) = delete;
  TensorAtPageEnd& operator=(const TensorAtPageEnd&) = delete;
  const TensorView& view() const { return view_; }

 private:
  void* base_;
  std::size_t mapped_bytes_;
  TensorView view_;
};

TEST(FlashForwardFp32, NothingPastTheEndOfATensorIsReadOrWritten) {
  const std::vector<Sizes> ragged = {{1, 2, 1, 3, 5, 7, 9}, {2, 2, 1, 70, 90, 33, 40}, {1, 1, 1, 65, 33, 127, 100}};
  for (const Sizes& n : ragged) {
    Attention want(n);
    fill_with_noise(want);
    want.run();
    Attention got(want);
    const TensorAtPageEnd q(got.q), k(got.k), v(got.v), out(got.out), lse(got.lse);
    on_host::flash_forward_fp32(got.params_of(q.view(), k.view(), v.view(), out.view(), &lse.view()), nullptr);
    copy_elements(out.view(), got.out.view());
    copy_elements(lse.view(), got.lse.view());
    expect_same_rows(want, got, every_row);
  }
}

TEST(FlashForwardFp32, SequencesWithoutElementsAreLegal) {
  Attention no_keys({2, 2, 1, 67, 0, 8, 8});
  fill_with_noise(no_keys);
  TensorView k = no_keys.k.view(), v = no_keys.v.view();
  const TensorView q = no_keys.q.view(), out = no_keys.out.view(), lse = no_keys.lse.view();
  k.data = v.data = nullptr;
  on_host::flash_forward_fp32(no_keys.params_of(q, k, v, out, &lse), nullptr);
  for (std::int64_t i = 0; i < 67; ++i) {
    EXPECT_EQ(no_keys.lse.at(1, 1, i, 0), -kInfinity);
    for (std::int64_t c = 0; c < 8; ++c) EXPECT_EQ(no_keys.out.at(1, 1, i, c), 0.0f);
  }
  Attention no_queries({2, 2, 1, 0, 9, 8, 8});
  fill_with_noise(no_queries);
  EXPECT_NO_THROW(no_queries.run());
}

TEST(FlashForwardFp32, LseMayBeLeftOut) {
  Attention want({1, 2, 2, 40, 50, 8, 8}), got(want);
  fill_with_noise(want);
  fill_with_noise(got);
  want.run();
  on_host::flash_forward_fp32(got.params(nullptr), nullptr);
  EXPECT_TRUE(std::isnan(got.lse.at(0, 0, 0, 0)));
  got.lse = want.lse;
  expect_same_rows(want, got, every_row);
}

TEST(FlashForwardFp32, BatchesTimesHeadsMayPassWhatAGridHoldsAlongY) {
  Attention a({22000, 3, 1, 1, 1, 1, 1});
  a.q.fill([](auto, auto, auto, auto) { return 1; });
  a.k.fill([](auto b, auto, auto, auto) { return b % 100; });
  a.v.fill([](auto b, auto, auto, auto) { return b; });
  a.run();
  int wrong = 0;
  for (std::int64_t b = 0; b < 22000; ++b) {
    for (std::int64_t h = 0; h < 3; ++h) {
      if (a.out.at(b, h, 0, 0) != static_cast<float>(b) || a.lse.at(b, h, 0, 0) != static_cast<float>(b % 100)) ++wrong;
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST(FlashForwardFp32DeathTest, HeadDimBeyond256IsAProgrammersMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Attention a({1, 1, 1, 2, 2, 257, 8});
  EXPECT_DEATH(a.run(), "at most 256");
}

}  // namespace
}  // namespace ringproof
