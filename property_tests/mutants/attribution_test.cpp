// The attribution of a rejected answer names the right place for mutants whose place is known. It is told nothing of
// them.

#include "reference/judge/attribution.h"

#include <gtest/gtest.h>

#include <string>

#include "property_tests/mutants/mutants.h"
#include "reference/judge/verify.h"

namespace ringproof {
namespace {

std::string attributed(const std::string& name, const std::string& line) {
  for (const Mutant& mutant : mutants()) {
    if (mutant.name != name) continue;
    const Reference reference = prepare(parse_case(line), 2);
    Buffers buffers;
    const Got got = run(mutant.candidate, reference, buffers);
    const Dtype storage = reference.c.problem.dtype;
    const Arithmetic arithmetic =
        resolve(mutant.candidate.describe(storage, reference.c.direction).arithmetic, storage);
    const Evidence evidence = compare(name, reference, arithmetic, got);
    EXPECT_EQ(verify_case(evidence).outcome, Outcome::kRejected) << name;
    return attribution_of(reference, arithmetic, got, evidence);
  }
  ADD_FAILURE() << "there is no mutant " << name;
  return "";
}

const std::string kShape = "b2.hq4.hkv2.sq128.skv192.dqk32.dv32";
std::string line_of(const std::string& mask, const std::string& dtype = "fp32", const std::string& shape = kShape) {
  return "fwd/" + dtype + "/" + shape + "/" + mask + "/scale0.17677669/gauss:5/bhsd/single";
}

TEST(Attribution, NamesTheKey) {
  for (const char* dtype : {"fp32", "bf16", "fp16"}) {
    EXPECT_EQ(attributed("last_key_dropped", line_of("full", dtype)),
              "residual concentrates on key 191 in all rows: a tail key dropped");
  }
  EXPECT_EQ(attributed("key_1024_dropped", line_of("full", "fp32", "b1.hq2.hkv1.sq32.skv1100.dqk32.dv32")),
            "residual concentrates on key 1024 in all rows: a key dropped");
}

TEST(Attribution, NamesTheDiagonalOfAMask) {
  const std::string square = "b1.hq2.hkv1.sq128.skv128.dqk32.dv32";
  EXPECT_EQ(attributed("causal_edge_one_too_far", line_of("causal_top_left", "fp32", square)),
            "residual lies on the diagonal j - i = 1: a mask edge one key too far");
  EXPECT_EQ(attributed("causal_edge_one_too_short", line_of("causal_top_left", "bf16", square)),
            "residual lies on the diagonal j - i = 0: a mask edge one key too short");
  EXPECT_EQ(attributed("window_left_one_too_long", line_of("window(20,3)")),
            "residual lies on the diagonal j - i = 43: a mask edge one key too far");
}

TEST(Attribution, NamesTheHeadAndTheBatch) {
  EXPECT_EQ(attributed("head_1_reads_head_0", line_of("full")), "residual lies in head 1 only");
  EXPECT_EQ(attributed("batch_reads_batch_zero", line_of("full")), "residual lies in batch 1 only");
}

TEST(Attribution, NamesWhatIsWrongInEveryRow) {
  EXPECT_EQ(attributed("lse_in_base_2", line_of("full")), "lse is scaled by 1.443: base 2");
  EXPECT_EQ(attributed("scale_nine_tenths", line_of("full")), "residual is that of scores scaled by about 0.905");
  EXPECT_EQ(attributed("rescale_of_o_missing", line_of("full")),
            "residual follows whole tiles of keys, with factors of each row's own: a rescale missing, stale or wrong");
}

// A correct kernel is not rejected, so nothing is said of it; nor of the tensor that is right.
TEST(Attribution, SaysNothingOfWhatIsAccepted) {
  const Reference reference = prepare(parse_case(line_of("causal_top_left", "bf16")), 2);
  Buffers buffers;
  const Candidate specimen = specimen_flash();
  const Got got = run(specimen, reference, buffers);
  const Arithmetic arithmetic = resolve({}, Dtype::kBf16);
  EXPECT_EQ(attribution_of(reference, arithmetic, got, compare("specimen", reference, arithmetic, got)), "");
}

}  // namespace
}  // namespace ringproof
