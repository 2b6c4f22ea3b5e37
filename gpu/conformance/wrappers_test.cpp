// The comparison itself, without a device: the host against the host agrees, and against a host with one wrong bit or
// with other numerics it does not.

#include "gpu/conformance/wrappers.h"

#include <gtest/gtest.h>

#include "gpu/simt/runtime.h"

namespace ringproof {
namespace {

using Words = std::vector<std::uint32_t>;
constexpr int kTrials = 6;

Words sequential(Probe probe, const Words& in, int trials) {
  const ProbeShape shape = shape_of(probe);
  const auto count_in = static_cast<std::size_t>(shape.words_in * shape.threads);
  const auto count_out = static_cast<std::size_t>(shape.words_out * shape.threads);
  Words out(count_out * static_cast<std::size_t>(trials));
  for (std::size_t t = 0; t < static_cast<std::size_t>(trials); ++t) {
    on_host::launch_probe(probe, in.data() + t * count_in, out.data() + t * count_out, nullptr);
  }
  return out;
}

TEST(Conformance, TheHostAgreesWithItselfOnEveryProbe) {
  for (const Finding& finding : compare_probes(run_probe_on_host, run_probe_on_host, kTrials, 1, true)) {
    EXPECT_TRUE(finding.agrees) << finding.check << ": " << finding.sentence;
  }
  EXPECT_TRUE(compare_truncation(run_probe_on_host, run_probe_on_host, true).agrees);
}

TEST(Conformance, OneWrongBitIsFoundInEveryProbe) {
  const ProbeRun wrong = [](Probe probe, const Words& in, int trials) {
    Words out = run_probe_on_host(probe, in, trials);
    const auto trial = out.size() / kTrials;
    out[trial + 1] ^= 1u;  // the second trial holds ordinary numbers
    return out;
  };
  for (const Finding& finding : compare_probes(run_probe_on_host, wrong, kTrials, 1, true)) {
    EXPECT_FALSE(finding.agrees) << finding.check;
    EXPECT_NE(finding.sentence.find("1 of"), std::string::npos) << finding.sentence;
    EXPECT_NE(finding.sentence.find("trial 1"), std::string::npos) << finding.sentence;
  }
}

Finding finding_of(const std::vector<Finding>& findings, const std::string& check) {
  for (const Finding& finding : findings) {
    if (finding.check == check) return finding;
  }
  ADD_FAILURE() << "nothing is said of " << check;
  return {};
}

TEST(Conformance, OtherNumericsOfTheTensorCoreAreFoundOnHopperAndMeasuredElsewhere) {
  for (const bool is_hopper : {true, false}) {
    const std::vector<Finding> findings = compare_probes(run_probe_on_host, sequential, kTrials, 1, is_hopper);
    for (const char* check : {"mma.m16n8k16 bf16", "mma.m16n8k16 fp16"}) {
      EXPECT_FALSE(finding_of(findings, check).agrees) << check;
      EXPECT_EQ(finding_of(findings, check).is_judged, is_hopper) << check;
      const Finding exact = finding_of(findings, check + std::string(", exact sums"));
      EXPECT_TRUE(exact.agrees && exact.is_judged) << exact.sentence;
    }
    EXPECT_TRUE(finding_of(findings, "ldmatrix").agrees);
    EXPECT_TRUE(finding_of(findings, "mma.m8n8k4 f64").is_judged);
    const Finding truncation = compare_truncation(run_probe_on_host, sequential, is_hopper);
    EXPECT_FALSE(truncation.agrees);
    EXPECT_EQ(truncation.is_judged, is_hopper);
  }
}

// Lanes 0 and 4 of A changed over: a wrong layout, which no way of rounding explains.
TEST(Conformance, AWrongLayoutIsFoundOnEveryDevice) {
  const ProbeRun wrong = [](Probe probe, const Words& in, int trials) {
    Words turned = in;
    const ProbeShape shape = shape_of(probe);
    for (int i = 0; i < shape.words_in; ++i)
      std::swap(turned[static_cast<std::size_t>(i)], turned[static_cast<std::size_t>(i + 4 * shape.words_in)]);
    return run_probe_on_host(probe, turned, trials);
  };
  const std::vector<Finding> findings = compare_probes(run_probe_on_host, wrong, kTrials, 1, false);
  for (const char* check : {"mma.m16n8k16 bf16, exact sums", "mma.m16n8k16 fp16, exact sums"}) {
    EXPECT_FALSE(finding_of(findings, check).agrees) << check;
    EXPECT_TRUE(finding_of(findings, check).is_judged) << check;
  }
}

TEST(Conformance, TheTruncationOfHoppersModelIsMeasuredAsItIsWritten) {
  const Finding finding = compare_truncation(run_probe_on_host, run_probe_on_host, true);
  const std::vector<std::pair<std::string, double>> want{
      {"fraction_bits_of_products", 25},       {"fraction_bits_with_accumulator", 25},
      {"last_bits_of_one_and_a_half", 1},      {"last_bits_of_minus_one_and_a_half", -1},
      {"fp32_last_bits_of_three_quarters", 0}, {"fp32_last_bits_of_minus_three_quarters", 0},
      {"products_added_at_once", 16}};
  EXPECT_EQ(finding.facts, want);
}

TEST(Conformance, NothingComparedIsNoAgreement) {
  const ProbeRun nothing = [](Probe, const Words&, int) { return Words{}; };
  for (const Finding& finding : compare_probes(nothing, nothing, kTrials, 1, true)) EXPECT_FALSE(finding.agrees);
}

}  // namespace
}  // namespace ringproof
