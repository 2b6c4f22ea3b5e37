// Holds the C++ against the stored golden answers (golden/data/small): the input generator bit for bit
// against the NumPy one, and the oracle, element by element, within its own derived error
//   of the enclosures, which provably contain the truth:  |oracle - (value + tail)| <= radius + oracle error
//   of the long double answers:                           |oracle - (value + tail)| <= error  + oracle error
// Both are stored alike, as (value, tail, width).

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reference/judge/bound_oracle.h"
#include "reference/judge/special_rows.h"
#include "reference/oracle/attention_forward.h"
#include "reference/spec/case.h"
#include "reference/spec/npy.h"

namespace ringproof {
namespace {

struct Golden {
  std::string line, folder;
  bool enclosed;
};

std::vector<Golden> read_manifest() {
  const std::string folder = data_folder() + "/small/";
  const auto manifest = nlohmann::json::parse(std::ifstream(folder + "manifest.json"));
  std::vector<Golden> found;
  for (const auto& entry : manifest.at("cases")) {
    found.push_back({entry.at("line"), folder + entry.at("folder").get<std::string>() + "/",
                     entry.at("sha256").contains("enclosure_out.npy")});
  }
  return found;
}

// Tests are listed by what this returns: an unreadable manifest lists none, and TheManifest's test says so.
std::vector<Golden> golden_cases(bool only_enclosed) {
  try {
    std::vector<Golden> found = read_manifest();
    if (only_enclosed) std::erase_if(found, [](const Golden& golden) { return !golden.enclosed; });
    return found;
  } catch (const std::exception&) {
    return {};
  }
}

// Numbers stored as (value, tail, width) along the last axis: the truth lies within width of value + tail.
struct StoredAnswer {
  std::vector<double> numbers;
  std::size_t count() const { return numbers.size() / 3; }
  double value(std::size_t i) const { return numbers[3 * i]; }
  double tail(std::size_t i) const { return numbers[3 * i + 1]; }
  double width(std::size_t i) const { return numbers[3 * i + 2]; }
};

StoredAnswer read_answer(const std::string& path) {
  const NpyArray array = read_npy(path);
  StoredAnswer answer{std::vector<double>(array.bytes.size() / sizeof(double))};
  EXPECT_EQ(array.type, "<f8") << path;
  if (!array.bytes.empty()) std::memcpy(answer.numbers.data(), array.bytes.data(), array.bytes.size());
  return answer;
}

// Covers the roundings of this comparison itself; the difference of two doubles this close is exact.
constexpr double kRoundingUp = 1 + 0x1p-40;

void expect_within(const WideValues& got, const std::vector<double>& error, const StoredAnswer& want,
                   const std::string& what) {
  ASSERT_EQ(got.value.size(), want.count()) << what;
  ASSERT_EQ(error.size(), want.count()) << what;
  double share_max = 0;
  for (std::size_t i = 0; i < want.count(); ++i) {
    if (got.value[i] == want.value(i) && got.tail_at(i) == want.tail(i)) continue;
    const long double apart = (static_cast<long double>(got.value[i]) - want.value(i)) +
                              (static_cast<long double>(got.tail_at(i)) - want.tail(i));
    const double bound = (error[i] + want.width(i)) * kRoundingUp;
    EXPECT_TRUE(std::isfinite(bound)) << what << " element " << i << " is not judged";
    EXPECT_LE(std::fabs(apart), bound) << what << " element " << i << ": want " << want.value(i) << ", got "
                                       << got.value[i];
    share_max = std::fmax(share_max, static_cast<double>(std::fabs(apart)) / bound);
  }
  testing::Test::RecordProperty(what + "_bound_used", std::to_string(share_max));
}

void expect_oracle_within(const Golden& golden, const std::string& prefix) {
  const Case c = parse_case(golden.line);
  const Inputs inputs = without_special(make_inputs(c.problem, c.inputs, c.memory));
  const ForwardAnswer answer =
      attention_forward(with_data(c.problem, inputs), inputs.q.view(), inputs.k.view(), inputs.v.view(), 1);
  const double u = static_cast<double>(std::numeric_limits<long double>::epsilon()) / 2;
  EXPECT_EQ(answer.unit_roundoff, c.problem.dtype == Dtype::kF64 ? u : 0x1p-53);
  const Bounds error = oracle_error(c.problem, answer);
  expect_within(answer.out, error.out, read_answer(golden.folder + prefix + "out.npy"), "out");
  expect_within(answer.lse, error.lse, read_answer(golden.folder + prefix + "lse.npy"), "lse");
}

// Tests go by the place of their Case, so that their names stay short.
template <bool kOnlyEnclosed>
class PlacedCase : public testing::TestWithParam<std::size_t> {
 protected:
  static const std::vector<Golden>& all() {
    static const std::vector<Golden> cases = golden_cases(kOnlyEnclosed);
    return cases;
  }
  const Golden& golden() const { return all().at(GetParam()); }
};

class GoldenCase : public PlacedCase<false> {};
class EnclosedCase : public PlacedCase<true> {};

TEST(TheManifest, HoldsFortyCasesAndTheEnclosures) {
  EXPECT_GE(golden_cases(false).size(), 40u);
  EXPECT_EQ(golden_cases(true).size(), 26u);
}

TEST_P(GoldenCase, LineReadsBackToItself) {
  SCOPED_TRACE(golden().line);
  EXPECT_EQ(to_string(parse_case(golden().line)), golden().line);
}

TEST_P(GoldenCase, InputsHaveTheStoredBits) {
  SCOPED_TRACE(golden().line);
  const Case c = parse_case(golden().line);
  const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
  const std::pair<const Tensor&, const char*> tensors[]{{inputs.q, "q"}, {inputs.k, "k"}, {inputs.v, "v"}};
  for (const auto& [tensor, name] : tensors) {
    const NpyArray stored = read_npy(golden().folder + name + ".npy");
    const Shape& shape = tensor.shape();
    EXPECT_EQ(stored.shape, std::vector<std::int64_t>(shape.begin(), shape.end())) << name;
    EXPECT_EQ(stored.bytes, tensor.bytes()) << name;
  }
}

TEST_P(GoldenCase, OracleLiesWithinItsErrorOfTheLongDoubleAnswer) {
  SCOPED_TRACE(golden().line);
  expect_oracle_within(golden(), "");
}

TEST_P(EnclosedCase, OracleLiesWithinItsErrorOfTheEnclosure) {
  SCOPED_TRACE(golden().line);
  expect_oracle_within(golden(), "enclosure_");
}

INSTANTIATE_TEST_SUITE_P(Small, GoldenCase, testing::Range(std::size_t{0}, golden_cases(false).size()));
INSTANTIATE_TEST_SUITE_P(Small, EnclosedCase, testing::Range(std::size_t{0}, golden_cases(true).size()));

}  // namespace
}  // namespace ringproof
