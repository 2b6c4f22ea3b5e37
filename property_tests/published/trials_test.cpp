// The published counts in small: what must be seen is seen, and nobody correct is accused.

#include "property_tests/published/trials.h"

#include <gtest/gtest.h>

#include <cctype>

#include "reference/judge/published_rules.h"

namespace ringproof {
namespace {

Detections small_trials(const PublishedData& data) {
  Detections detections;
  for (const std::int64_t n : {64, 128}) {
    for (const std::uint64_t seed : {1, 2, 3}) run_trial(data, n, seed, 2, detections);
  }
  return detections;
}

class EveryPublishedData : public testing::TestWithParam<PublishedData> {};

TEST_P(EveryPublishedData, AccusesNoCorrectRun) {
  const Detections detections = small_trials(GetParam());
  EXPECT_EQ(detections.count_clean, 2 * 3 * 5);
  for (const auto& [name, said] : detections.false_alarms) ADD_FAILURE() << name << ": " << said.front();
}

TEST_P(EveryPublishedData, IsSeenByOursMoreOftenThanByTheRulesThatNeverCryWolf) {
  const Detections detections = small_trials(GetParam());
  EXPECT_EQ(detections.count_faulty, 2 * 3 * 19);
  const std::int64_t ours = detections.faulty.at("any of ours");
  for (const PublishedRule& rule : published_rules()) {
    if (detections.clean.at(rule.name) != 0) continue;
    EXPECT_GE(ours, detections.faulty.at(rule.name)) << rule.name;
  }
}

// What rounds less than the storage does may hide in it; what is computed wrongly may not. A sink sets the maximum in
// the first tile, so that data never rescales.
TEST_P(EveryPublishedData, HidesNoFaultButThoseOfPrecision) {
  const Detections detections = small_trials(GetParam());
  for (const auto& [fault, count] : detections.missed) {
    const bool is_of_precision = fault.find("accumulator") != std::string::npos ||
                                 fault.find("merges in bf16") != std::string::npos ||
                                 fault.find("S rounded") != std::string::npos;
    const bool is_never_exercised = GetParam().sink && fault.find("not rescaled") != std::string::npos;
    EXPECT_TRUE(is_of_precision || is_never_exercised) << fault << " was not seen " << count << " times";
  }
}

std::string name_of(const testing::TestParamInfo<PublishedData>& info) {
  std::string name;
  for (const char letter : info.param.name) {
    if (std::isalnum(static_cast<unsigned char>(letter))) name += letter;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Published, EveryPublishedData, testing::ValuesIn(published_data()), name_of);

}  // namespace
}  // namespace ringproof
