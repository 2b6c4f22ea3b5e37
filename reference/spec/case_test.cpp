#include "reference/spec/case.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

const char* const kExamples[]{
    "fwd/bf16/b2.hq8.hkv2.sq128.skv512.dqk64.dv64/causal_bottom_right/scale0.125/uniform_probe:17/bhsd/zigzag4",
    "bwd/fp16/b1.hq4.hkv4.sq257.skv257.dqk128.dv128/window(63,0)/scale0.088388346,softcap30/gauss:3/bshd/single",
    "fwd/bf16/b1.hq2.hkv2.sq128.skv128.dqk64.dv64/document(5+0+123,7+0+100)+causal/scale0.125,sink/gauss:5/thd+gap3/"
    "single",
    "fwd/fp16/b1.hq12.hkv12.sq300.skv300.dqk32.dv32/block_sparse(64x128,keep0.25:9)/scale0.17677669/real(minilm.0):0/"
    "bhsd+gap8/single"};

const char* const kPlain = "fwd/fp32/b1.hq1.hkv1.sq4.skv4.dqk8.dv8/full/scale0.5/gauss:0/bhsd/single";

// kPlain with one part replaced.
std::string with(const std::string& part, const std::string& by) {
  std::string line = kPlain;
  const std::size_t at = line.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  return line.replace(at, part.size(), by);
}

std::string refusal(const std::string& line) {
  try {
    parse_case(line);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::string judging_refusal(const std::string& line, std::uint64_t memory_bytes_max = std::uint64_t{1} << 40) {
  try {
    require_judgeable(parse_case(line), memory_bytes_max);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::vector<std::string> lines_over_the_grammar() {
  std::vector<std::string> lines(std::begin(kExamples), std::end(kExamples));
  for (const char* direction : {"fwd", "bwd", "bwd_coupled"}) lines.push_back(with("fwd", direction));
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"}) {
    lines.push_back(with("fp32", dtype));
  }
  for (const char* mask :
       {"full", "causal_top_left", "causal_bottom_right", "window(3,0)", "window(-1,2)", "window(0,-1)",
        "document(4,4)", "document(1+2,0+3)+causal", "block_sparse(2x1,keep0.1:18446744073709551615)"}) {
    lines.push_back(with("full", mask));
  }
  for (const char* scalars : {"scale1", "scale0", "scale-0.25", "scale1e-06", "scale0.1,softcap30,sink",
                              "scale0.5,descale(0.5,2,0.1)", "scale3.4028235e+38"}) {
    lines.push_back(with("scale0.5", scalars));
  }
  for (const char* inputs :
       {"gauss:1", "uniform_probe:2", "walsh_probe:3", "head_coded:4", "exact:5", "peaked:6", "ascending:7",
        "descending:8", "sink:9", "outlier:10", "near_ties:11", "duplicated:12", "cancelling:13",
        "large_offset(-10000):14", "large_offset(0.1):15", "special:16", "real(smollm2.3):18446744073709551615"}) {
    lines.push_back(with("gauss:0", inputs));
  }
  for (const char* memory : {"bshd", "thd", "bhsd+gap8", "bshd+gap8+broadcast_kv+dim2", "bhsd+huge_batch+huge_seq",
                             "bhsd+page_end+mixed+alias", "bhsd+v_in_k+nan1", "bhsd+nan2"}) {
    lines.push_back(with("bhsd", memory));
  }
  for (const char* topology : {"contiguous1", "contiguous4", "striped3", "zigzag8", "head_split4", "all_gather4",
                               "hybrid2xzigzag4", "hybrid3xcontiguous1", "hybrid2xstriped2"}) {
    lines.push_back(with("single", topology));
  }
  lines.push_back(with("sq4.skv4", "sq0.skv0"));
  return lines;
}

TEST(CaseLine, EveryFormOfTheGrammarPrintsAsItWasWritten) {
  for (const std::string& line : lines_over_the_grammar()) {
    ASSERT_EQ(refusal(line), "") << line;
    const Case c = parse_case(line);
    EXPECT_EQ(to_string(c), line);
    EXPECT_EQ(parse_case(to_string(c)), c) << line;
  }
}

TEST(CaseLine, FieldsLandWhereTheLineSaysThem) {
  const Case c = parse_case(kExamples[0]);
  EXPECT_EQ(c.direction, Direction::kForward);
  EXPECT_EQ(c.problem.dtype, Dtype::kBf16);
  EXPECT_EQ(c.problem.shape_q(), (Shape{2, 8, 128, 64}));
  EXPECT_EQ(c.problem.shape_k(), (Shape{2, 2, 512, 64}));
  EXPECT_EQ(c.problem.mask, Mask{MaskKind::kCausalBottomRight});
  EXPECT_EQ(c.problem.softmax_scale, 0.125);
  EXPECT_EQ(c.inputs, (InputRecipe{RecipeKind::kUniformProbe, 0, "", 17}));
  EXPECT_EQ(c.problem.topology, (Topology{Schedule::kZigzag, 4, 1}));
  const Case sparse = parse_case(kExamples[3]);
  EXPECT_EQ(sparse.memory.gap, 8);
  EXPECT_EQ(sparse.inputs.real_name, "minilm.0");
  EXPECT_EQ(sparse.problem.mask.block_q, 64);
  EXPECT_EQ(sparse.problem.mask.block_kv, 128);
  EXPECT_EQ(sparse.problem.mask.block_share_kept, 0.25);
  EXPECT_EQ(sparse.problem.mask.block_seed, 9u);
  const Case document = parse_case(kExamples[2]);
  EXPECT_EQ(document.problem.mask.document_lengths_kv, (std::vector<std::int64_t>{7, 0, 100}));
  EXPECT_TRUE(document.problem.mask.document_causal);
  EXPECT_TRUE(document.problem.has_sink);
  EXPECT_EQ(parse_topology("hybrid2xzigzag4"), (Topology{Schedule::kZigzag, 8, 2}));
}

TEST(CaseLine, ScalarsAreRoundedToFp32UnlessStorageIsFp64) {
  EXPECT_EQ(parse_case(with("scale0.5", "scale0.1")).problem.softmax_scale, static_cast<double>(0.1f));
  EXPECT_EQ(parse_case(with("fp32/b1.hq1.hkv1.sq4.skv4.dqk8.dv8/full/scale0.5",
                            "fp64/b1.hq1.hkv1.sq4.skv4.dqk8.dv8/full/scale0.1"))
                .problem.softmax_scale,
            0.1);
  EXPECT_EQ(parse_case(with("scale0.5", "scale1,softcap0.3")).problem.softcap, static_cast<double>(0.3f));
}

TEST(CaseLine, MalformedLinesNameThePositionAndWhatWasWanted) {
  const std::pair<std::string, std::string> lines[]{
      {"", "position 1: wanted a direction (fwd, bwd, bwd_coupled), found the end of the line"},
      {"forward/fp32", "position 1: wanted a direction"},
      {"fwd", "position 4: wanted '/', found the end of the line"},
      {with("fp32", "fp31"), "position 5: wanted a dtype"},
      {with("b1.", "b."), "position 11: wanted a whole number, found '.hq1"},
      {with(".hkv1", ".hvk1"), "position 16: wanted '.hkv', found '.hvk1"},
      {with("sq4", "sq4x"), "position 25: wanted '.skv'"},
      {with("dqk8", "dqk99999999999999999999"), "wanted a whole number"},
      {with("full", "causal"), "position 40: wanted a mask"},
      {with("full", "window(1;2)"), "position 48: wanted ',', found ';2)"},
      {with("full", "window(1,2"), "wanted ')', found '/scale"},
      {with("full", "document(1+,2)"), "wanted a document length, found ',2)"},
      {with("full", "block_sparse(2x2,keepall:1)"), "wanted the share of tiles kept, found 'all"},
      {with("scale0.5", "scale"), "position 50: wanted the scale, a number"},
      {with("scale0.5", "scale1e999"), "wanted the scale, a number"},
      {with("scale0.5", "0.5"), "wanted 'scale', found '0.5"},
      {with("scale0.5", "scale1,cap3"), "wanted softcap, sink or descale(q,k,v), found 'cap3"},
      {with("gauss:0", "17:0"), "wanted an input recipe"},
      {with("gauss:0", "gauss"), "wanted ':', found '/bhsd"},
      {with("gauss:0", "gauss:-1"), "wanted a seed, found '-1"},
      {with("gauss:0", "large_offset(x):1"), "wanted a logit offset, found 'x):1"},
      {with("gauss:0", "real():1"), "wanted the name of stored activations"},
      {with("bhsd", "bsdh"), "wanted a memory (bhsd, bshd, thd), found 'bsdh"},
      {with("bhsd", "bhsd+hole"), "wanted gapN, broadcast_kv"},
      {with("single", "ring4"), "wanted a topology (single"},
      {with("single", "zigzag"), "wanted a rank count, found the end of the line"},
      {with("single", "hybrid2xall_gather4"), "wanted a topology"},
      {with("single", "single "), "wanted the end of the line, found ' '"}};
  for (const auto& [line, sentence] : lines) {
    const std::string said = refusal(line);
    EXPECT_NE(said.find(sentence), std::string::npos) << line << "\nsaid: " << said;
    EXPECT_EQ(said.rfind("Case line, position ", 0), 0u) << said;
  }
}

TEST(CaseLine, WhatMakesNoSenseIsNamed) {
  const std::pair<std::string, std::string> lines[]{
      {with("gauss:0", "gaus:0"), "'gaus' is no input recipe"},
      {with("gauss:0", "real(../x):0"), "is a name, not a path"},
      {with("gauss:0", "large_offset(nan):0"), "not a finite number"},
      {with("gauss:0", "large_offset(inf):0"), "not a finite number"},
      {with("hq1.hkv1", "hq3.hkv2"), "hq (3) is not a multiple of hkv (2)"},
      {with("scale0.5", "scale1e39"), "the scale is not a finite number"},
      {with("scale0.5", "scalenan"), "the scale is not a finite number"},
      {with("single", "zigzag0"), "a rank count must be between 1 and 2^20, not 0"},
      {with("single", "hybrid1024xzigzag2048"), "more than 2^20 ranks"},
      {with("b1.", "b2.").replace(with("b1.", "b2.").find("bhsd"), 4, "thd"), "thd holds one batch"},
      {with("bhsd", "bhsd+gap-1"), "gap must be between"},
      {with("bhsd", "bhsd+gap1048577"), "gap must be between"},
      {with("dqk8", "dqk4").replace(with("dqk8", "dqk4").find("bhsd"), 4, "bhsd+v_in_k"), "dv at most dqk"},
      {with("skv4", "skv5").replace(with("skv4", "skv5").find("bhsd"), 4, "bhsd+alias"), "q, k and v of one shape"},
      {with("bhsd", "bhsd+broadcast_kv+alias"), "no heads to broadcast"},
      {with("bhsd", "bhsd+alias+v_in_k"), "V in K already"},
      {with("bhsd", "bhsd+alias+nan1"), "hides no slot"}};
  for (const auto& [line, sentence] : lines) {
    const std::string said = refusal(line);
    EXPECT_NE(said.find(sentence), std::string::npos) << line << "\nsaid: " << said;
  }
}

TEST(CaseLine, SizesThatOverflowAreRefusedNotWrapped) {
  for (const char* part : {"b1.", "hq1.hkv1", "sq4", "skv4", "dqk8", "dv8"}) {
    std::string huge = part;
    for (std::size_t at = 0; (at = huge.find_first_of("0123456789", at)) != std::string::npos; at += 19) {
      huge.replace(at, 1, "9223372036854775807");
    }
    EXPECT_NE(refusal(with(part, huge)), "") << huge;
  }
  EXPECT_NE(refusal(with("sq4", "sq2305843009213693952")), "");
  EXPECT_EQ(refusal(with("full", "window(9223372036854775807,9223372036854775807)")), "");
}

TEST(JudgeableCase, SentencesNameWhatThisVersionDoesNotJudge) {
  const std::pair<std::string, std::string> lines[]{
      {with("fwd", "bwd"), "the direction bwd is not judged"},
      {with("fwd", "bwd_coupled"), "the direction bwd_coupled is not judged"},
      {with("scale0.5", "scale0.5,descale(1,2,1)"), "descale factors belong to fp8 storage"}};
  for (const auto& [line, sentence] : lines) {
    const std::string said = judging_refusal(line);
    EXPECT_NE(said.find(sentence), std::string::npos) << line << "\nsaid: " << said;
  }
  for (const char* topology :
       {"single", "contiguous4", "striped3", "zigzag8", "head_split2", "all_gather2", "hybrid2xzigzag2"}) {
    EXPECT_EQ(judging_refusal(with("single", topology)), "");
  }
  for (const char* mask : {"document(4,4)", "document(0+2,3+1)+causal", "block_sparse(2x2,keep0.5:1)"}) {
    EXPECT_EQ(judging_refusal(with("full", mask)), "");
  }
  for (const char* memory : {"bhsd+huge_batch", "bhsd+huge_seq", "bhsd+huge_batch+huge_seq", "bhsd+page_end",
                             "bhsd+alias", "bhsd+v_in_k", "bhsd+nan1", "bhsd+nan2"}) {
    EXPECT_EQ(judging_refusal(with("bhsd", memory)), "");
  }
  const std::string far = with("sq4.skv4", "sq4000.skv4");
  EXPECT_NE(judging_refusal(std::string(far).replace(far.find("bhsd"), 4, "bhsd+huge_seq")).find("2^43 bytes"),
            std::string::npos);
}

TEST(JudgeableCase, MoreMemoryThanThereIsIsRefusedWithBothNumbers) {
  const Case small = parse_case(kPlain);
  EXPECT_NO_THROW(require_judgeable(small, memory_bytes_needed(small)));
  EXPECT_THROW(require_judgeable(small, memory_bytes_needed(small) - 1), InputError);
  const std::string line = with("sq4.skv4", "sq1048576.skv1048576");
  const std::string said = judging_refusal(line, std::uint64_t{64} << 20);
  EXPECT_NE(said.find(line), std::string::npos) << said;
  EXPECT_NE(said.find("may take 64 MiB"), std::string::npos) << said;
}

TEST(JudgeableCase, TilesOfABlockMaskCountAsMemory) {
  const std::string long_row = with("sq4.skv4.dqk8.dv8", "sq1048576.skv1048576.dqk1.dv1");
  const auto blocks = [&](const char* tile) {
    std::string line = long_row;
    return line.replace(line.find("full"), 4, std::string("block_sparse(") + tile + ",keep0.5:1)");
  };
  EXPECT_EQ(judging_refusal(blocks("128x128"), std::uint64_t{1} << 40), "");
  EXPECT_NE(judging_refusal(blocks("1x1"), std::uint64_t{1} << 40), "");
}

TEST(MemoryEstimate, CoversEverythingThatIsAllocatedAndSaturates) {
  // Inputs and their copies, want with six statistics and two bounds, got: all in bytes of a plain fp32 Case.
  const std::uint64_t elements = 1000 * 64;
  const Case c = parse_case(with("sq4.skv4.dqk8.dv8", "sq1000.skv1000.dqk64.dv64"));
  EXPECT_GE(memory_bytes_needed(c), 4 * elements * 3 * 3 + elements * (10 * 8 + 4 * 4));
  const Case huge = parse_case(with("sq4.skv4.dqk8.dv8", "sq1000000000.skv1000000000.dqk1000000.dv1000000"));
  const Case gap = parse_case(with("bhsd", "bhsd+gap1000"));
  EXPECT_EQ(memory_bytes_needed(huge),
            std::min(memory_bytes_needed(huge), std::numeric_limits<std::uint64_t>::max() / 2));
  EXPECT_GE(memory_bytes_needed(huge), std::uint64_t{1} << 56);
  EXPECT_GT(memory_bytes_needed(gap), memory_bytes_needed(parse_case(kPlain)));
  const Case most = parse_case(with("sq4.skv4.dqk8.dv8", "sq1000000000000000.skv1.dqk1.dv1024"));
  EXPECT_EQ(memory_bytes_needed(most), std::numeric_limits<std::uint64_t>::max() / 2);
}

TEST(CaseFile, HoldsOneLineACaseWithCommentsAndBlanks) {
  const std::string text = std::string("# fast\n\n  ") + kPlain + " \t\r\n# more\n" + kExamples[0];
  const std::vector<Case> cases = parse_cases(text, "cases.txt");
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(to_string(cases[0]), kPlain);
  EXPECT_EQ(to_string(cases[1]), kExamples[0]);
  EXPECT_TRUE(parse_cases("", "cases.txt").empty());
}

TEST(CaseFile, AMalformedLineIsNamedByItsNumber) {
  try {
    parse_cases(std::string(kPlain) + "\n\nfwd/x\n", "cases.txt");
    FAIL() << "a malformed line was accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "cases.txt, line 3: Case line, position 5: wanted a dtype (fp64, fp32, fp16, bf16, fp8_e4m3, "
                 "fp8_e5m2), found 'x'");
  }
}

}  // namespace
}  // namespace ringproof
