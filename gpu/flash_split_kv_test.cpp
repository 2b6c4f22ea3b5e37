// What splitting must not change to the last bit. With q = 0 every weight is 1 and all sums are exact integers, in
// whatever parts they are added: the answer is the mean of the visible values, rounded once, and ln of their count.

#include "gpu/flash_split_kv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "gpu/flash_problem.h"
#include "reference/spec/tensor.h"

namespace ringproof {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Sizes {
  std::int64_t batch, heads_q, heads_kv, seqlen_q, seqlen_kv, head_dim;
};

double value_of(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) {
  return static_cast<double>((b * 7 + h * 5 + s * 3 + d) % 17 - 8);
}

class MeanOfValues {
 public:
  MeanOfValues(const Sizes& sizes, const Band& band)
      : sizes_(sizes),
        band_(band),
        q_(Dtype::kBf16, {sizes.batch, sizes.heads_q, sizes.seqlen_q, sizes.head_dim}),
        k_(Dtype::kBf16, {sizes.batch, sizes.heads_kv, sizes.seqlen_kv, sizes.head_dim}),
        v_(k_),
        out_(Dtype::kBf16, q_.shape()),
        partial_(Dtype::kF32, q_.shape()),
        lse_(Dtype::kF32, {sizes.batch, sizes.heads_q, sizes.seqlen_q, 1}) {
    fill(k_);
    fill(v_);
  }

  FlashParams params(const Tensor& out, std::int64_t splits) {
    LocalProblem problem{};
    problem.band = band_;
    problem.softmax_scale = 1;
    lse_view_ = lse_.view();
    FlashParams params = make_flash_params(problem, q_.view(), k_.view(), v_.view(), out.view(), &lse_view_);
    params.splits = splits;
    workspace_.assign(static_cast<std::size_t>(flash_split_kv_workspace_bytes(params)), std::byte{0xff});
    params.workspace = workspace_.data();
    return params;
  }

  /// Elements of O and lse that are not what they must be to the last bit.
  std::int64_t count_wrong(std::int64_t splits) {
    on_host::flash_split_kv_bf16(params(out_, splits), nullptr);
    return count_wrong_of(out_);
  }
  std::int64_t count_wrong_of_partial(std::int64_t splits) {
    on_host::flash_split_kv_bf16(params(partial_, splits), nullptr);
    return count_wrong_of(partial_);
  }

 private:
  static void fill(const Tensor& tensor) {
    const Shape& n = tensor.shape();
    for (std::int64_t b = 0; b < n[0]; ++b) {
      for (std::int64_t h = 0; h < n[1]; ++h) {
        for (std::int64_t s = 0; s < n[2]; ++s) {
          for (std::int64_t d = 0; d < n[3]; ++d) tensor.view().store(b, h, s, d, value_of(b, h, s, d));
        }
      }
    }
  }

  std::int64_t count_wrong_of(const Tensor& out) const {
    std::int64_t wrong = 0;
    const std::int64_t group = sizes_.heads_q / sizes_.heads_kv;
    for (std::int64_t b = 0; b < sizes_.batch; ++b) {
      for (std::int64_t h = 0; h < sizes_.heads_q; ++h) {
        for (std::int64_t i = 0; i < sizes_.seqlen_q; ++i) {
          const KeyRange keys = visible_keys(band_, i, sizes_.seqlen_kv);
          const float lse = keys.count() > 0 ? std::log(static_cast<float>(keys.count())) : -kInfinity;
          if (lse_.view().load(b, h, i, 0) != lse) ++wrong;
          for (std::int64_t d = 0; d < sizes_.head_dim; ++d) {
            double sum = 0;
            for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += value_of(b, h / group, j, d);
            const float mean = keys.count() > 0 ? static_cast<float>(sum) / static_cast<float>(keys.count()) : 0.0f;
            if (out.view().load(b, h, i, d) != round_to(out.dtype(), mean)) ++wrong;
          }
        }
      }
    }
    return wrong;
  }

  Sizes sizes_;
  Band band_;
  Tensor q_, k_, v_, out_, partial_, lse_;
  TensorView lse_view_;
  std::vector<std::byte> workspace_;
};

TEST(FlashSplitKv, HowManySplitsThereAreChangesNoBitWhereSumsAreExact) {
  for (const Band& band : {Band{-kUnbounded, kUnbounded}, Band{-20, 3}, Band{150, kUnbounded}, Band{-kUnbounded, -5}}) {
    MeanOfValues mean({2, 6, 2, 9, 200, 24}, band);
    for (const std::int64_t splits : {0, 1, 2, 3, 7, 100}) {
      EXPECT_EQ(mean.count_wrong(splits), 0) << splits << " splits, band " << band.lo << " " << band.hi;
    }
  }
}

TEST(FlashSplitKv, PartialOfARingIsNotRoundedToStorage) {
  MeanOfValues mean({1, 4, 1, 5, 130, 40}, {-70, 100});
  EXPECT_EQ(mean.count_wrong_of_partial(3), 0);
}

TEST(FlashSplitKv, SequencesWithoutElementsAreLegal) {
  EXPECT_EQ(MeanOfValues({2, 2, 1, 3, 0, 8}, {-kUnbounded, kUnbounded}).count_wrong(0), 0);
  EXPECT_EQ(MeanOfValues({2, 2, 1, 0, 9, 8}, {-kUnbounded, kUnbounded}).count_wrong(0), 0);
}

TEST(FlashSplitKv, SplitsTimesHeadsMayPassWhatAGridHoldsAlongY) {
  EXPECT_EQ(MeanOfValues({1, 2, 2, 1, 100, 2}, {-kUnbounded, kUnbounded}).count_wrong(33000), 0);
}

TEST(FlashSplitKv, OwnChoiceOfSplitsDependsOnTheKeysAlone) {
  FlashParams params{};
  for (const auto& [seqlen_kv, splits] : {std::pair{0, 1}, {1, 1}, {64, 1}, {65, 2}, {1000, 16}, {1000000, 16}}) {
    params.seqlen_kv = seqlen_kv;
    for (const std::int64_t rows : {1, 5000}) {
      params.batch = params.heads_q = params.seqlen_q = rows;
      EXPECT_EQ(flash_split_kv_splits(params), splits) << seqlen_kv << " keys";
    }
  }
}

TEST(FlashSplitKvDeathTest, NoWorkspaceIsAProgrammersMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  MeanOfValues mean({1, 1, 1, 2, 2, 8}, {-kUnbounded, kUnbounded});
  const Tensor out(Dtype::kBf16, {1, 1, 2, 8});
  FlashParams params = mean.params(out, 0);
  params.workspace = nullptr;
  EXPECT_DEATH(on_host::flash_split_kv_bf16(params, nullptr), "wants a workspace");
}

}  // namespace
}  // namespace ringproof
