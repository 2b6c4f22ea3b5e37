#include "reports/results.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A fresh folder for one test, removed with it.
class ResultsWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::path(testing::TempDir()) / ("ringproof_results_" + name);
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string results() const { return text_of(folder_ / "results.jsonl"); }
  std::vector<json> records() const {
    std::vector<json> all;
    std::istringstream lines(results());
    for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line));
    return all;
  }

  fs::path folder_;
};

RunInfo some_run() {
  return {"gate",
          {"--tier", "fast"},
          "0.1.0",
          "abc",
          "2025-01-02T03:04:05Z",
          "fast",
          7,
          "a cpu",
          "an os",
          "a compiler",
          2,
          1024,
          "none",
          "none",
          "threads"};
}

Evidence some_evidence() {
  TensorEvidence out{"out", 64, 1, 2, 3, {0, 1, 2, 3}, 0.1, 0.3, 0.2, 0.1, 2};
  return {"kernel", "a Case line",         Dtype::kBf16, MaskKind::kWindow,
          64,       CallStatus::kReturned, "",           {"an element of lse is unwritten"},
          {out},    {"out by value"},      1.5,          2.5};
}

CaseVerdict rejected(const std::string& reason) { return {"a Case line", Outcome::kRejected, reason}; }

TEST_F(ResultsWriterTest, EveryRecordKindIsOneLineInTheOrderWritten) {
  ResultsWriter writer(folder_.string());
  writer.run(some_run());
  writer.not_run("kernel:cuda", "no CUDA device");
  writer.evidence(0, some_evidence(), rejected("wrong"));
  writer.verdict({"kernel", Outcome::kRejected, "bf16", "reference contract"});
  writer.power(ClassPower{"kernel", Dtype::kBf16});
  writer.end({1, false, 1, 0.5});
  std::vector<std::string> kinds;
  for (const json& record : records()) kinds.push_back(record.at("record"));
  EXPECT_EQ(kinds, (std::vector<std::string>{"run", "not_run", "case", "verdict", "power", "end"}));
}

TEST_F(ResultsWriterTest, PowerNamesEveryEffectAndEveryFault) {
  ClassPower power{"kernel", Dtype::kBf16, MaskKind::kWindow, 2, 7};
  power.power.effects = {0.25, kInfinity, 1e-6, 1};
  power.power.faults[1] = {Sight::kSeen, "bound of lse", 12};
  power.power.faults[3] = {Sight::kUnseen, "bound used 0.5", 0.5};
  ResultsWriter writer(folder_.string());
  writer.power(power);
  const json record = records().front();
  EXPECT_EQ(record.at("keys"), "129-1,024");
  EXPECT_EQ(record.at("count_cases"), 7);
  EXPECT_EQ(record.at("mask"), "window");
  const json& effects = record.at("effects");
  EXPECT_EQ(effects.at(0), (json{{"name", "scale"}, {"least_rejected", 0.25}}));
  EXPECT_EQ(effects.at(1), (json{{"name", "shrink of O"}, {"least_rejected", "inf"}}));
  EXPECT_EQ(effects.at(2), (json{{"name", "lse shift"}, {"least_rejected", 1e-6}}));
  EXPECT_EQ(effects.at(3), (json{{"name", "key weight"}, {"least_rejected", 1}}));
  const json& faults = record.at("faults");
  EXPECT_EQ(faults.at(1),
            (json{{"name", "a key doubled"}, {"sight", "seen"}, {"why", "bound of lse"}, {"bound_used", 12}}));
  EXPECT_EQ(faults.at(3),
            (json{{"name", "kv heads rotated"}, {"sight", "unseen"}, {"why", "bound used 0.5"}, {"bound_used", 0.5}}));
  EXPECT_EQ(faults.at(4).at("sight"), "not applicable");
}

TEST_F(ResultsWriterTest, EveryLineIsOnDiskBeforeTheNextOneIsWritten) {
  ResultsWriter writer(folder_.string());
  writer.run(some_run());
  EXPECT_EQ(records().size(), 1U);
  for (std::int64_t sequence = 0; sequence < 3; ++sequence) {
    writer.evidence(sequence, some_evidence(), rejected("wrong"));
    ASSERT_EQ(records().size(), static_cast<std::size_t>(sequence) + 2);
    EXPECT_EQ(records().back().at("sequence"), sequence);
    EXPECT_EQ(results().back(), '\n');
  }
}

TEST_F(ResultsWriterTest, NumbersReadBackToTheSameBits) {
  Evidence evidence = some_evidence();
  evidence.tensors[0].want = 0.1 + 0.2;
  evidence.tensors[0].error = std::numeric_limits<double>::denorm_min();
  evidence.tensors[0].bound = std::numeric_limits<double>::max();
  RunInfo info = some_run();
  info.seed = std::numeric_limits<std::uint64_t>::max();
  ResultsWriter writer(folder_.string());
  writer.run(info);
  writer.evidence(0, evidence, rejected("wrong"));
  EXPECT_EQ(records()[0].at("seed").get<std::uint64_t>(), info.seed);
  const json tensor = records()[1].at("tensors").at(0);
  EXPECT_EQ(tensor.at("want").get<double>(), 0.1 + 0.2);
  EXPECT_EQ(tensor.at("error").get<double>(), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(tensor.at("bound").get<double>(), std::numeric_limits<double>::max());
}

TEST_F(ResultsWriterTest, NonFiniteNumbersAreNamedAndNeverNull) {
  Evidence evidence = some_evidence();
  evidence.tensors[0].want = -kInfinity;
  evidence.tensors[0].got = kNan;
  evidence.tensors[0].bound_used = kInfinity;
  Verdict verdict{"kernel", Outcome::kRejected, "bf16", "reference contract"};
  verdict.bound_used = kInfinity;
  verdict.facts.push_back({"noise figure", kNan, "1", "1.05"});
  ResultsWriter writer(folder_.string());
  writer.evidence(0, evidence, rejected("wrong"));
  writer.verdict(verdict);
  const json tensor = records()[0].at("tensors").at(0);
  EXPECT_EQ(tensor.at("want"), "-inf");
  EXPECT_EQ(tensor.at("got"), "nan");
  EXPECT_EQ(tensor.at("bound_used"), "inf");
  EXPECT_EQ(records()[1].at("bound_used"), "inf");
  EXPECT_EQ(records()[1].at("facts").at(0).at("value"), "nan");
  EXPECT_EQ(results().find("null"), std::string::npos);
}

TEST_F(ResultsWriterTest, AnyReasonStaysOneAsciiLine) {
  const std::string reason = "quote \" backslash \\ line\nbreak, escape \x1b, separator \xE2\x80\xA8, no UTF-8 \xFF";
  ResultsWriter writer(folder_.string());
  writer.evidence(0, some_evidence(), rejected(reason));
  ASSERT_EQ(records().size(), 1U);
  EXPECT_EQ(records()[0].at("reason"),
            "quote \" backslash \\ line\nbreak, escape \x1b, separator \xE2\x80\xA8, no UTF-8 \xEF\xBF\xBD");
  for (const char c : results()) ASSERT_TRUE(c == '\n' || (c >= ' ' && c <= '~'));
}

TEST_F(ResultsWriterTest, StatisticsAndWhatRejectsAreKept) {
  Evidence evidence = some_evidence();
  evidence.is_independent = true;
  evidence.probabilistic = {evidence.tensors[0]};
  evidence.noise = {true, {400, 100, 40}, {200, 50, 20}, {1, 3}};
  evidence.bias = {true, {200, -50, 20000, 20, -5000, 2100000}, 0.125};
  Verdict verdict{"kernel", Outcome::kRejected, "bf16", "reference contract"};
  verdict.noise = evidence.noise.all_heads;
  verdict.failing_checks = {"pooled bias of out"};
  verdict.reason = "too small";
  CaseVerdict of_case = rejected("wrong");
  of_case.attribution = "residual lies in head 1 only";
  of_case.warnings = {"careful"};
  ResultsWriter writer(folder_.string());
  writer.evidence(0, evidence, of_case);
  writer.verdict(verdict);
  const json one = records()[0], all = records()[1];
  EXPECT_EQ(one.at("failing_checks"), json({"structure", "bound of out", "probabilistic bound of out"}));
  EXPECT_EQ(one.at("attribution"), "residual lies in head 1 only");
  EXPECT_EQ(one.at("warnings"), json({"careful"}));
  EXPECT_EQ(one.at("probabilistic").at(0).at("bound_used"), 2);
  EXPECT_EQ(one.at("noise").at("figure"), 0.5);
  EXPECT_EQ(one.at("noise").at("worst_head"), json({1, 3}));
  EXPECT_EQ(one.at("bias").at("beta"), -0.0025);
  EXPECT_EQ(one.at("bias").at("limit"), 0.125);
  EXPECT_EQ(all.at("noise").at("figure"), 0.5);
  EXPECT_EQ(all.at("bias").at("beta"), "nan");
  EXPECT_EQ(all.at("failing_checks"), json({"pooled bias of out"}));
  EXPECT_EQ(all.at("reason"), "too small");
}

TEST_F(ResultsWriterTest, RanksAreWrittenWithTheirFormulasAndTimes) {
  ScheduleTraffic traffic;
  traffic.candidate = "ring";
  traffic.topology = {Schedule::kZigzag, 2};
  traffic.outcome = Outcome::kRejected;
  traffic.bytes_sent = {41, 40};
  traffic.longest_case = "a Case";
  traffic.longest_ms = 2.5;
  traffic.ranks = {{{21, 20}, {1, 1}, {9, 9}, {6, 6}, {{0, 0.5, 1, 2, 3, 4}}}, {{20, 20}, {1, 1}, {9, 9}, {2, 2}}};
  { ResultsWriter(folder_.string()).ranks(traffic); }
  const json record = records().front();
  EXPECT_EQ(record.at("topology"), "zigzag2");
  EXPECT_EQ(record.at("count_ranks"), 2);
  EXPECT_EQ(record.at("outcome"), "rejected");
  EXPECT_EQ(record.at("bytes_sent"), json({{"got", 41}, {"want", 40}}));
  EXPECT_EQ(record.at("work_over_mean"), 1.5);
  EXPECT_EQ(record.at("ranks").at(0).at("bytes_sent").at("got"), 21);
  EXPECT_EQ(record.at("ranks").at(0).at("steps").at(0), json({{"step", 0},
                                                              {"begin_ms", 0.5},
                                                              {"wait_ms", 1.0},
                                                              {"compute_ms", 2.0},
                                                              {"merge_ms", 3.0},
                                                              {"other_ms", 4.0}}));
  EXPECT_EQ(record.at("ranks").at(1).at("steps"), json::array());
}

TEST_F(ResultsWriterTest, RowsJudgedByValueAreOneMoreTensorOnlyWhereThereAreSome) {
  Evidence evidence = some_evidence();
  ResultsWriter writer(folder_.string());
  writer.evidence(0, evidence, rejected("wrong"));
  evidence.by_value.count = 8;
  writer.evidence(1, evidence, rejected("wrong"));
  EXPECT_EQ(records()[0].at("tensors").size(), 1U);
  ASSERT_EQ(records()[1].at("tensors").size(), 2U);
  EXPECT_EQ(records()[1].at("tensors").at(1).at("name"), "out by value");
}

TEST_F(ResultsWriterTest, AFolderThatIsNotThereIsMade) {
  const fs::path inner = folder_ / "one" / "two";
  ResultsWriter writer(inner.string());
  EXPECT_TRUE(fs::exists(inner / "results.jsonl"));
}

TEST_F(ResultsWriterTest, ANewRunRemovesTheReportsOfTheOldOne) {
  { ResultsWriter(folder_.string()).run(some_run()); }
  for (const char* name : {"junit.xml", "report.html", "report.md", "notes.txt"})
    std::ofstream(folder_ / name) << "old";
  ResultsWriter writer(folder_.string());
  EXPECT_EQ(results(), "");
  for (const char* name : {"junit.xml", "report.html", "report.md"}) EXPECT_FALSE(fs::exists(folder_ / name)) << name;
  EXPECT_TRUE(fs::exists(folder_ / "notes.txt"));
}

TEST_F(ResultsWriterTest, AFolderThatHoldsNoRunKeepsItsFiles) {
  std::ofstream(folder_ / "report.md") << "somebody else's";
  ResultsWriter writer(folder_.string());
  EXPECT_EQ(text_of(folder_ / "report.md"), "somebody else's");
}

TEST_F(ResultsWriterTest, AFolderThatCannotBeWrittenIsRefusedByNameAndNothingIsLeft) {
  std::ofstream(folder_ / "file") << "content";
  for (const fs::path& path : {folder_ / "file", folder_ / "file" / "below"}) {
    try {
      ResultsWriter writer(path.string());
      FAIL() << path;
    } catch (const InputError& error) {
      const std::string sentence = error.what();
      EXPECT_NE(sentence.find("'" + path.string() + "'"), std::string::npos) << sentence;
      EXPECT_NE(sentence.find("--out"), std::string::npos) << sentence;
      EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
    }
  }
  EXPECT_EQ(text_of(folder_ / "file"), "content");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(ResultsWriterTest, AFolderWhoseResultsCannotBeOpenedKeepsItsReports) {
  fs::create_directories(folder_ / "results.jsonl");
  std::ofstream(folder_ / "report.md") << "old";
  EXPECT_THROW(ResultsWriter(folder_.string()), InputError);
  EXPECT_TRUE(fs::exists(folder_ / "report.md"));
}

TEST(ResultsWriter, AFullDiskIsAnErrorThatNamesTheFile) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  const fs::path folder = fs::path(testing::TempDir()) / "ringproof_results_full";
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::create_symlink("/dev/full", folder / "results.jsonl");
  try {
    ResultsWriter(folder.string()).run(some_run());
    ADD_FAILURE() << "nothing was thrown";
  } catch (const InputError&) {
    ADD_FAILURE() << "a full disk is no mistake of the user";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("results.jsonl"), std::string::npos) << error.what();
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace ringproof
