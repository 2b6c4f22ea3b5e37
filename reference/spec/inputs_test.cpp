#include "reference/spec/inputs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "reference/spec/case.h"
#include "reference/spec/error.h"
#include "reference/spec/real_inputs.h"

namespace ringproof {
namespace {

Inputs inputs_of(const std::string& line) {
  const Case c = parse_case(line);
  return make_inputs(c.problem, c.inputs, c.memory);
}

std::string refusal(const std::string& line) {
  try {
    inputs_of(line);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

double element(const Tensor& tensor, std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) {
  return tensor.view().load(b, h, s, d);
}

TEST(Draws, HaveTheBitsOfTheirFormulaOnEveryMachine) {
  struct Row {
    std::uint64_t seed;
    TensorRole role;
    std::int64_t index;
    int word;
    std::uint64_t bits;
  };
  const Row rows[]{{0, TensorRole::kQ, 0, 0, 0xa706dd2f4d197e6fu},
                   {0, TensorRole::kK, 0, 3, 0x26a223c360b54f32u},
                   {17, TensorRole::kV, 5, 1, 0xd8b3ef642fede5a4u},
                   {18446744073709551615u, TensorRole::kDOut, 1099511627776, 2, 0xbbd5cdb835a7a083u}};
  for (const Row& row : rows) EXPECT_EQ(hashed_bits(row.seed, row.role, row.index, row.word), row.bits);
  EXPECT_EQ(gauss_draw(0, TensorRole::kQ, 0), 0x1.04f91a7121123p-1);
  EXPECT_EQ(gauss_draw(0, TensorRole::kK, 0), -0x1.25083d35e529dp-2);
  EXPECT_EQ(gauss_draw(0, TensorRole::kV, 0), -0x1.0ce36986fadd3p+0);
  EXPECT_EQ(gauss_draw(3, TensorRole::kQ, 1), 0x1.eeb843ead44b2p-1);
  EXPECT_EQ(gauss_draw(3, TensorRole::kK, 123456789), -0x1.3d66c1b3bf4f1p-3);
  EXPECT_EQ(gauss_draw(18446744073709551615u, TensorRole::kV, 7), 0x1.2e7ae036d7e8ap+1);
}

// Each of 128 bits adds variance 1/4 and the uniform 1/12.
TEST(Draws, OfGaussAreScaledToVarianceOneExactly) {
  const auto scale = static_cast<double>(1 / std::sqrt(32 + 1 / 12.0L));
  for (std::int64_t index = 0; index < 1000; ++index) {
    const auto bits = [&](int word) { return hashed_bits(5, TensorRole::kQ, index, word); };
    const double uniform = static_cast<double>(2 * (bits(2) >> 24) + 1) * 0x1p-41 - 0.5;
    const int ones = std::popcount(bits(0)) + std::popcount(bits(1));
    EXPECT_EQ(gauss_draw(5, TensorRole::kQ, index), (ones - 64 + uniform) * scale);
  }
}

TEST(Inputs, HaveTheSameBitsEveryTime) {
  for (const char* recipe : {"gauss:3", "peaked:3", "sink:3", "large_offset(100):3"}) {
    const std::string line =
        std::string("fwd/fp64/b1.hq4.hkv2.sq5.skv6.dqk8.dv4/full/scale0.25/") + recipe + "/bhsd/single";
    const Inputs one = inputs_of(line), other = inputs_of(line);
    EXPECT_EQ(one.q.bytes(), other.q.bytes());
    EXPECT_EQ(one.k.bytes(), other.k.bytes());
    EXPECT_EQ(one.v.bytes(), other.v.bytes());
    EXPECT_EQ(element(one.q, 0, 1, 2, 3), gauss_draw(3, TensorRole::kQ, (1 * 5 + 2) * 8 + 3));
    EXPECT_EQ(element(one.k, 0, 1, 2, 3), gauss_draw(3, TensorRole::kK, (1 * 6 + 2) * 8 + 3));
    EXPECT_EQ(element(one.v, 0, 1, 2, 3), gauss_draw(3, TensorRole::kV, (1 * 6 + 2) * 4 + 3));
  }
}

TEST(Inputs, OfStorageAreTheWideOnesRoundedOnce) {
  for (const char* recipe : {"gauss:3", "peaked:3", "sink:3", "large_offset(12):3", "walsh_probe:3", "uniform_probe:3",
                             "ascending:3", "descending:3", "outlier:3", "duplicated:3", "cancelling:3"}) {
    const auto line = [&](const char* dtype) {
      return std::string("fwd/") + dtype + "/b1.hq2.hkv1.sq5.skv6.dqk8.dv4/full/scale0.25/" + recipe + "/bhsd/single";
    };
    const Inputs wide = inputs_of(line("fp64"));
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
      const Inputs narrow = inputs_of(line(std::string(to_string(dtype)).c_str()));
      for (std::int64_t s = 0; s < 5; ++s) {
        for (std::int64_t d = 0; d < 4; ++d) {
          EXPECT_EQ(element(narrow.q, 0, 1, s, d), round_to(dtype, element(wide.q, 0, 1, s, d))) << recipe;
          EXPECT_EQ(element(narrow.k, 0, 0, s, d), round_to(dtype, element(wide.k, 0, 0, s, d))) << recipe;
          EXPECT_EQ(element(narrow.v, 0, 0, s, d), round_to(dtype, element(wide.v, 0, 0, s, d))) << recipe;
        }
      }
    }
  }
}

// peaked, sink and exact speak of the whole sequence; the others do not know its length.
TEST(Inputs, OfOneHeadStayWhenTheSequenceGrows) {
  for (const char* recipe : {"gauss:1", "uniform_probe:1", "walsh_probe:1", "head_coded:1", "large_offset(100):1"}) {
    const auto line = [&](int length) {
      return "fwd/fp32/b1.hq1.hkv1.sq" + std::to_string(length) + ".skv" + std::to_string(length) +
             ".dqk4.dv4/full/scale0.5/" + recipe + "/bhsd/single";
    };
    const Inputs small = inputs_of(line(7)), large = inputs_of(line(19));
    for (std::int64_t s = 0; s < 7; ++s) {
      for (std::int64_t d = 0; d < 4; ++d) {
        EXPECT_EQ(element(small.q, 0, 0, s, d), element(large.q, 0, 0, s, d)) << recipe;
        EXPECT_EQ(element(small.k, 0, 0, s, d), element(large.k, 0, 0, s, d)) << recipe;
        EXPECT_EQ(element(small.v, 0, 0, s, d), element(large.v, 0, 0, s, d)) << recipe;
      }
    }
  }
}

TEST(Inputs, OfDifferentSeedsAndTensorsDiffer) {
  const auto line = [](int seed) {
    return "fwd/fp32/b1.hq1.hkv1.sq8.skv8.dqk8.dv8/full/scale0.5/gauss:" + std::to_string(seed) + "/bhsd/single";
  };
  const Inputs one = inputs_of(line(1)), two = inputs_of(line(2));
  EXPECT_NE(one.q.bytes(), two.q.bytes());
  EXPECT_NE(one.q.bytes(), one.k.bytes());
  EXPECT_NE(one.k.bytes(), one.v.bytes());
}

TEST(Inputs, OfProbesAreTheirFormulas) {
  const Inputs uniform =
      inputs_of("fwd/bf16/b2.hq2.hkv2.sq3.skv300.dqk4.dv8/full/scale0.5/uniform_probe:300/bhsd/single");
  const Inputs walsh = inputs_of("fwd/bf16/b1.hq1.hkv1.sq3.skv70.dqk4.dv70/full/scale0.5/walsh_probe:3/bhsd/single");
  const Inputs coded = inputs_of("fwd/bf16/b2.hq6.hkv3.sq3.skv4.dqk4.dv8/full/scale0.5/head_coded:3/bhsd/single");
  for (std::int64_t s = 0; s < 300; ++s) {
    for (std::int64_t c = 0; c < 8; ++c) {
      const std::int64_t code = ((2 * c + 1) * s + 37 * c + 101 + 59 + 43) % 257;
      EXPECT_EQ(element(uniform.v, 1, 1, s, c) * 128 + 128, static_cast<double>(code));
    }
    EXPECT_EQ(element(uniform.k, 1, 1, s, 3), 0);
  }
  for (std::int64_t s = 0; s < 70; ++s) {
    for (std::int64_t c = 0; c < 70; ++c) {
      const bool is_one = c == 0 || c > 63 || ((s >> (c - 1)) & 1) == 0;
      EXPECT_EQ(element(walsh.v, 0, 0, s, c), is_one ? 1 : -1) << s << " " << c;
    }
  }
  EXPECT_EQ(element(walsh.q, 0, 0, 2, 1), 0);
  EXPECT_NE(element(walsh.k, 0, 0, 2, 1), 0);
  EXPECT_EQ(element(coded.v, 0, 2, 3, 7), 3);
  EXPECT_EQ(element(coded.v, 1, 1, 0, 0), 5);
}

TEST(Inputs, OfPeakedRiseAndOfSinkFallAfterTheFirstKey) {
  const Inputs peaked = inputs_of("fwd/fp64/b1.hq1.hkv1.sq2.skv512.dqk4.dv4/full/scale0.25/peaked:3/bhsd/single");
  int peaks = 0;
  for (std::int64_t s = 0; s < 512; ++s) {
    const double slope = 8 * static_cast<double>(s) / 512 - 4;
    const double nats = element(peaked.k, 0, 0, s, 0) * 2 * 0.25;
    EXPECT_TRUE(nats == slope || nats == slope + 2) << s;
    peaks += nats != slope;
  }
  EXPECT_GT(peaks, 0);
  EXPECT_LT(peaks, 64);  // one key in 32 is meant
  const Inputs sink = inputs_of("fwd/fp64/b1.hq1.hkv1.sq2.skv512.dqk4.dv4/full/scale0.25/sink:3/bhsd/single");
  EXPECT_EQ(element(sink.k, 0, 0, 0, 0), (0.7 * 10 + 2) / 0.5);
  EXPECT_EQ(element(sink.k, 0, 0, 1, 0), 0);
  EXPECT_EQ(element(sink.v, 0, 0, 0, 1), gauss_draw(3, TensorRole::kV, 1) / 64);
}

TEST(Inputs, OfLargeOffsetShiftEveryScoreAlike) {
  for (const double offset : {12.0, -10000.0}) {
    const Inputs inputs = inputs_of("fwd/fp32/b1.hq1.hkv1.sq2.skv9.dqk4.dv4/full/scale0.25/large_offset(" +
                                    std::to_string(static_cast<int>(offset)) + "):3/bhsd/single");
    for (std::int64_t s = 0; s < 9; ++s) {
      EXPECT_EQ(element(inputs.q, 0, 0, s % 2, 0) * element(inputs.k, 0, 0, s, 0) * 0.25, offset);
    }
  }
}

// S of one row, all keys, in double.
std::vector<double> scores_of(const std::string& line, std::int64_t h, std::int64_t i) {
  const Case c = parse_case(line);
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  std::vector<double> scores;
  for (std::int64_t j = 0; j < c.problem.seqlen_kv; ++j) {
    double score = 0;
    for (std::int64_t d = 0; d < c.problem.head_dim_qk; ++d) {
      score += element(inputs.q, 0, h, i, d) * element(inputs.k, 0, h / c.problem.heads_per_group(), j, d);
    }
    scores.push_back(c.problem.softmax_scale * score);
  }
  return scores;
}

std::string line_of(const std::string& dtype, const std::string& shape, const std::string& recipe) {
  return "fwd/" + dtype + "/" + shape + "/full/scale0.25/" + recipe + ":3/bhsd/single";
}

// With 512 keys each of eight tiles lies half an e-fold above the one before; the noise is an eighth of that of gauss.
TEST(Inputs, OfSlopesRiseOrFallFromTileToTile) {
  const std::string shape = "b1.hq2.hkv1.sq9.skv512.dqk16.dv4";
  const Inputs ascending = inputs_of(line_of("fp64", shape, "ascending"));
  const Inputs descending = inputs_of(line_of("fp64", shape, "descending"));
  EXPECT_EQ(element(ascending.q, 0, 1, 2, 0), 2);
  EXPECT_EQ(element(ascending.q, 0, 1, 2, 5), gauss_draw(3, TensorRole::kQ, (9 + 2) * 16 + 5));
  EXPECT_EQ(element(ascending.k, 0, 0, 70, 5), gauss_draw(3, TensorRole::kK, 70 * 16 + 5) / 8);
  for (const std::int64_t key : {0, 128, 511}) {
    const double nats = 4 * static_cast<double>(key) / 512 - 2;
    EXPECT_EQ(element(ascending.k, 0, 0, key, 0), nats / 0.5);
    EXPECT_EQ(element(descending.k, 0, 0, key, 0), -nats / 0.5);
  }
  for (std::int64_t row = 0; row < 9; ++row) {
    const std::vector<double> up = scores_of(line_of("fp64", shape, "ascending"), 1, row);
    const std::vector<double> down = scores_of(line_of("fp64", shape, "descending"), 1, row);
    EXPECT_GE(std::max_element(up.begin(), up.end()) - up.begin(), 448);
    EXPECT_LT(std::max_element(down.begin(), down.end()) - down.begin(), 64);
  }
}

TEST(Inputs, OfOutlierHoldTenfoldDrawsWhereTheirCoinSays) {
  const Inputs inputs = inputs_of(line_of("fp64", "b1.hq2.hkv1.sq50.skv50.dqk32.dv16", "outlier"));
  std::int64_t count = 0;
  for (std::int64_t s = 0; s < 50; ++s) {
    for (std::int64_t d = 0; d < 32; ++d) {
      const std::int64_t index = (50 + s) * 32 + d;
      const double ordinary = gauss_draw(3, TensorRole::kQ, index);
      const bool far = hashed_bits(3, TensorRole::kQ, index, 3) < UINT64_MAX / 1000;
      const double added = 10 * gauss_draw(3, TensorRole::kQ, index + (std::int64_t{1} << 48));
      EXPECT_EQ(element(inputs.q, 0, 1, s, d), far ? ordinary + added : ordinary);
      count += element(inputs.q, 0, 1, s, d) != ordinary;
    }
  }
  EXPECT_EQ(count, 1);  // of 1,600, with this seed
}

TEST(Inputs, OfNearTiesGiveARowFourScoresThatAreUlpsApart) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBf16}) {
    const std::string line = line_of(std::string(to_string(dtype)), "b1.hq2.hkv2.sq3.skv40.dqk8.dv4", "near_ties");
    const Inputs inputs = inputs_of(line);
    const double ulp = 2 * half_ulp(dtype, 1);
    std::set<double> firsts;
    for (std::int64_t key = 0; key < 40; ++key) {
      firsts.insert((element(inputs.k, 0, 1, key, 0) - 1) / ulp);
      EXPECT_EQ(element(inputs.k, 0, 1, key, 3), element(inputs.k, 0, 1, 0, 3));
    }
    EXPECT_EQ(firsts, (std::set<double>{0, 1, 2, 3})) << line;
    EXPECT_NE(element(inputs.k, 0, 0, 0, 3), element(inputs.k, 0, 1, 0, 3));
  }
}

TEST(Inputs, OfDuplicatedRepeatFourKeysAndHavePositiveValues) {
  const std::string line = line_of("bf16", "b1.hq2.hkv1.sq3.skv43.dqk16.dv4", "duplicated");
  for (std::int64_t row = 0; row < 3; ++row) {
    const std::vector<double> scores = scores_of(line, 1, row);
    EXPECT_EQ(std::set<double>(scores.begin(), scores.end()).size(), 4u);
  }
  const Inputs inputs = inputs_of(line);
  for (std::int64_t key = 0; key < 43; ++key) {
    const double draw = gauss_draw(3, TensorRole::kV, key * 4 + 1);
    EXPECT_EQ(element(inputs.v, 0, 0, key, 1), round_to(Dtype::kBf16, std::fabs(draw)));
  }
}

// Equal scores have equal weights, and the values of a pair add up to 0: so does P V, whatever the weights are.
TEST(Inputs, OfCancellingAddUpToZeroInPairsHalfTheKeysApart) {
  for (const char* keys : {"40", "41", "1", "2"}) {
    const std::string line = line_of("fp16", std::string("b1.hq2.hkv1.sq3.skv") + keys + ".dqk16.dv4", "cancelling");
    const Inputs inputs = inputs_of(line);
    const std::int64_t count = inputs.k.shape()[2], half = count / 2;
    for (std::int64_t key = 0; key < half; ++key) {
      for (std::int64_t d = 0; d < 4; ++d) {
        EXPECT_EQ(element(inputs.v, 0, 0, key, d), -element(inputs.v, 0, 0, key + half, d)) << line;
        EXPECT_EQ(element(inputs.k, 0, 0, key, d), element(inputs.k, 0, 0, key + half, d)) << line;
      }
      EXPECT_NE(element(inputs.v, 0, 0, key, 0), 0);
    }
    if (count % 2 == 0) continue;
    EXPECT_EQ(element(inputs.v, 0, 0, count - 1, 0), 0) << line;
  }
}

void expect_one_hot(const std::string& line) {
  const Case c = parse_case(line);
  const Problem& p = c.problem;
  const Inputs inputs = make_inputs(p, c.inputs, c.memory);
  const Band band = band_of(p.mask, p.seqlen_q, p.seqlen_kv);
  for (std::int64_t h = 0; h < p.heads_q; ++h) {
    for (std::int64_t i = 0; i < p.seqlen_q; ++i) {
      const KeyRange seen = visible_keys(band, i, p.seqlen_kv);
      if (seen.count() == 0) continue;
      std::vector<double> scores;
      for (std::int64_t j = 0; j < p.seqlen_kv; ++j) {
        double score = 0;
        for (std::int64_t d = 0; d < p.head_dim_qk; ++d) {
          score += element(inputs.q, 0, h, i, d) * element(inputs.k, 0, h / p.heads_per_group(), j, d);
        }
        scores.push_back(p.softmax_scale * score);
      }
      const auto target = std::max_element(scores.begin(), scores.end()) - scores.begin();
      EXPECT_TRUE(seen.begin <= target && target < seen.end) << line << " row " << i;
      for (std::int64_t j = 0; j < p.seqlen_kv; ++j) {
        if (j == target) continue;
        EXPECT_GE(scores[target] - scores[static_cast<std::size_t>(j)], 40) << line << " row " << i;
      }
    }
  }
  EXPECT_EQ(element(inputs.v, 0, 0, 0, 0), std::floor(element(inputs.v, 0, 0, 0, 0)));
}

TEST(Inputs, OfExactLetOneVisibleKeyWinByFortyNats) {
  for (const char* shape :
       {"b1.hq2.hkv1.sq9.skv33.dqk16.dv4", "b1.hq1.hkv1.sq33.skv9.dqk8.dv4", "b1.hq1.hkv1.sq3.skv1.dqk1.dv1"}) {
    for (const char* mask : {"full", "causal_top_left", "causal_bottom_right", "window(2,1)"}) {
      for (const char* scale : {"scale0.25", "scale0.088388346", "scale-3"}) {
        for (const char* dtype : {"fp16", "bf16", "fp32"}) {
          expect_one_hot(std::string("fwd/") + dtype + "/" + shape + "/" + mask + "/" + scale + "/exact:7/bhsd/single");
        }
      }
    }
  }
}

TEST(Inputs, AreAlikeOverHeadsWhereKeysAndValuesAreBroadcast) {
  for (const char* recipe :
       {"gauss:1", "peaked:1", "sink:1", "ascending:1", "outlier:1", "near_ties:1", "duplicated:1", "cancelling:1"}) {
    const Inputs inputs = inputs_of(std::string("fwd/fp32/b2.hq3.hkv3.sq4.skv4.dqk4.dv4/full/scale0.5/") + recipe +
                                    "/bhsd+broadcast_kv/single");
    for (std::int64_t d = 0; d < 4; ++d) {
      EXPECT_EQ(element(inputs.k, 1, 0, 3, d), element(inputs.k, 1, 2, 3, d));
      EXPECT_EQ(element(inputs.v, 1, 0, 3, d), element(inputs.v, 1, 2, 3, d));
      EXPECT_NE(element(inputs.v, 0, 0, 3, d), element(inputs.v, 1, 0, 3, d));
    }
  }
}

TEST(Inputs, ThatDoNotFitAreRefused) {
  const auto line = [](const std::string& shape, const std::string& scale, const std::string& recipe,
                       const std::string& memory, const std::string& dtype = "fp16") {
    return "fwd/" + dtype + "/" + shape + "/full/" + scale + "/" + recipe + ":0/" + memory + "/single";
  };
  const std::string shape = "b1.hq2.hkv2.sq4.skv9.dqk4.dv4";
  EXPECT_EQ(refusal(line(shape, "scale1", "exact", "bhsd")), "");
  EXPECT_NE(refusal(line("b1.hq1.hkv1.sq4.skv17.dqk4.dv4", "scale1", "exact", "bhsd")).find("larger dqk"),
            std::string::npos);
  EXPECT_NE(refusal(line(shape, "scale1e-06", "exact", "bhsd")).find("overflow fp16"), std::string::npos);
  EXPECT_NE(refusal(line(shape, "scale1e+10", "exact", "bhsd")).find("underflow fp16"), std::string::npos);
  EXPECT_NE(refusal(line(shape, "scale0", "peaked", "bhsd")).find("overflow fp16"), std::string::npos);
  EXPECT_NE(refusal(line(shape, "scale1", "large_offset(1e+07)", "bhsd")).find("overflow fp16"), std::string::npos);
  EXPECT_EQ(refusal(line(shape, "scale1", "large_offset(1e+07)", "bhsd", "bf16")), "");
  for (const char* recipe : {"uniform_probe", "walsh_probe", "head_coded", "exact"}) {
    EXPECT_NE(refusal(line(shape, "scale1", recipe, "bhsd+broadcast_kv")).find("K and V of its own"),
              std::string::npos);
  }
  EXPECT_EQ(refusal(line(shape, "scale1", "gauss", "bhsd+broadcast_kv")), "");
}

// A folder of stored activations of two kv heads, four q heads, three tokens and head dim 2.
class StoredActivations : public testing::Test {
 protected:
  StoredActivations() {
    std::filesystem::create_directories(folder_ / "real");
    write("q", 4);
    write("k", 2);
    write("v", 2);
    setenv("RINGPROOF_DATA", folder_.c_str(), 1);
  }
  ~StoredActivations() override {
    unsetenv("RINGPROOF_DATA");
    std::filesystem::remove_all(folder_);
  }

  // Element i in C order is i / 8.
  void write(const std::string& tensor, int heads, const std::string& type = "<f2") const {
    std::string header =
        "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + std::to_string(heads) + ", 3, 2), }";
    header.resize(117, ' ');
    header += '\n';
    std::ofstream file(folder_ / "real" / ("tiny.0." + tensor + ".npy"), std::ios::binary);
    file.write("\x93NUMPY\x01\x00", 8);
    file.put(static_cast<char>(header.size()));
    file.put(0);
    file << header;
    for (int i = 0; i < heads * 6; ++i) {
      char bits[2];
      store(bits, Dtype::kF16, i / 8.0);
      file.write(bits, 2);
    }
  }

  static std::string line(const std::string& shape, const std::string& name = "tiny.0") {
    return "fwd/bf16/" + shape + "/full/scale1/real(" + name + "):0/bhsd/single";
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("ringproof_inputs_" + std::to_string(std::random_device{}()));
};

TEST_F(StoredActivations, AreReadUpToTheLengthAsked) {
  const Inputs inputs = inputs_of(line("b1.hq4.hkv2.sq3.skv2.dqk2.dv2"));
  EXPECT_EQ(element(inputs.q, 0, 3, 2, 1), 23 / 8.0);
  EXPECT_EQ(element(inputs.k, 0, 1, 1, 0), 8 / 8.0);
  EXPECT_EQ(element(inputs.v, 0, 0, 1, 1), 3 / 8.0);
  EXPECT_EQ(inputs.k.shape(), (Shape{1, 2, 2, 2}));
}

TEST_F(StoredActivations, RefuseOtherHeadsDimsBatchesAndLengths) {
  EXPECT_EQ(refusal(line("b1.hq4.hkv2.sq3.skv3.dqk2.dv2")), "");
  for (const char* shape : {"b1.hq2.hkv2.sq3.skv3.dqk2.dv2", "b1.hq4.hkv4.sq3.skv3.dqk2.dv2",
                            "b1.hq4.hkv2.sq3.skv3.dqk2.dv1", "b2.hq4.hkv2.sq3.skv3.dqk2.dv2"}) {
    EXPECT_NE(refusal(line(shape)).find("write them into the shape"), std::string::npos) << shape;
  }
  EXPECT_NE(refusal(line("b1.hq4.hkv2.sq4.skv3.dqk2.dv2")).find("holds 3 tokens in q"), std::string::npos);
  EXPECT_NE(refusal(line("b1.hq4.hkv2.sq3.skv4.dqk2.dv2")).find("holds 3 tokens in k"), std::string::npos);
  EXPECT_NE(refusal(line("b1.hq4.hkv2.sq3.skv3.dqk2.dv2", "tiny.1")).find("cannot be read"), std::string::npos);
}

TEST_F(StoredActivations, RefuseDamagedFiles) {
  const std::string fits = line("b1.hq4.hkv2.sq3.skv3.dqk2.dv2");
  const std::filesystem::path v = folder_ / "real" / "tiny.0.v.npy";
  write("v", 2, "<u2");
  EXPECT_NE(refusal(fits).find("does not hold fp16"), std::string::npos);
  write("v", 2);
  EXPECT_EQ(refusal(fits), "");
  std::ofstream(v, std::ios::binary | std::ios::app) << "more";
  EXPECT_NE(refusal(fits).find("too long"), std::string::npos);
  write("v", 2);
  std::filesystem::resize_file(v, std::filesystem::file_size(v) - 1);
  EXPECT_NE(refusal(fits).find("is truncated"), std::string::npos);
  std::filesystem::resize_file(v, 30);
  EXPECT_NE(refusal(fits).find("is truncated"), std::string::npos);
  std::ofstream(v) << "no array";
  EXPECT_NE(refusal(fits).find("is no .npy file"), std::string::npos);
}

}  // namespace
}  // namespace ringproof
