// One JSON object a line, each written whole and flushed: what is on disk is always a run up to some record.
// The order of the fields is that of results.schema.json, so that a line reads from the left: what it is,
// what it is about, what came of it.

#include "reports/results.h"

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no non-finite numbers, and null would hide which one it was.
Json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

const char* to_string(CallStatus status) {
  switch (status) {
    case CallStatus::kReturned: return "returned";
    case CallStatus::kUnsupported: return "unsupported";
    case CallStatus::kRefused: return "refused";
    case CallStatus::kFailed: return "failed";
  }
  assert_that(false, "a CallStatus is one of its four values");
  return "";
}

Json tensor_json(const TensorEvidence& tensor) {
  return Json{{"name", tensor.name},
              {"count", tensor.count},
              {"count_outside", tensor.count_outside},
              {"count_not_judged", tensor.count_not_judged},
              {"count_undefined", tensor.count_undefined},
              {"worst_index", tensor.worst_index},
              {"want", number(tensor.want)},
              {"got", number(tensor.got)},
              {"error", number(tensor.error)},
              {"bound", number(tensor.bound)},
              {"bound_used", number(tensor.bound_used)}};
}

Json fact_json(const Fact& fact) {
  return Json{{"name", fact.name},
              {"value", number(fact.value)},
              {"unit", fact.unit},
              {"measured_against", fact.measured_against}};
}

Json noise_json(bool is_judged, const NoiseSums& all, const NoiseSums& worst, const std::array<std::int64_t, 2>& head) {
  return Json{{"judged", is_judged},
              {"rows", all.rows},
              {"figure", number(noise_figure(all))},
              {"worst_rows", worst.rows},
              {"worst_figure", number(noise_figure(worst))},
              {"worst_head", head}};
}

Json bias_json(bool is_judged, const BiasSums& sums, double limit) {
  return Json{{"judged", is_judged},
              {"rows", sums.rows},
              {"beta", number(bias(sums))},
              {"standard_error", number(bias_error(sums))},
              {"limit", number(limit)}};
}

Json tally_json(const Tally& tally) { return Json{{"got", tally.got}, {"want", tally.want}}; }

Json rank_json(const RankReport& rank) {
  Json steps = Json::array();
  for (const StepTime& time : rank.steps) {
    steps.push_back(Json{{"step", time.step},
                         {"begin_ms", number(time.begin_ms)},
                         {"wait_ms", number(time.wait_ms)},
                         {"compute_ms", number(time.compute_ms)},
                         {"merge_ms", number(time.merge_ms)},
                         {"other_ms", number(time.other_ms)}});
  }
  return Json{{"bytes_sent", tally_json(rank.bytes_sent)},
              {"exchanges", tally_json(rank.exchanges)},
              {"memory_bytes_peak", tally_json(rank.memory_bytes_peak)},
              {"pairs", tally_json(rank.pairs)},
              {"steps", steps}};
}

Json tensors_json(const std::vector<TensorEvidence>& tensors) {
  Json all = Json::array();
  for (const TensorEvidence& tensor : tensors) all.push_back(tensor_json(tensor));
  return all;
}

void remove_earlier_reports(const std::filesystem::path& folder) {
  for (const char* name : {"junit.xml", "report.html", "report.md"}) {
    std::error_code ignored;  // what cannot be removed is overwritten, or refused, when its turn comes
    std::filesystem::remove(folder / name, ignored);
  }
}

}  // namespace

ResultsWriter::ResultsWriter(const std::string& folder)
    : path_((std::filesystem::path(folder) / "results.jsonl").string()), file_(nullptr) {
  const auto refuse = [&](const std::string& why) {
    throw InputError("the folder '" + folder + "' cannot be written (" + why + "); give --out another one");
  };
  if (folder.empty()) refuse("it has no name");
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) refuse(failure.message());
  const bool is_second_run = std::filesystem::exists(path_, failure);
  file_ = std::fopen(path_.c_str(), "w");
  if (file_ == nullptr) refuse(std::generic_category().message(errno));
  if (is_second_run) remove_earlier_reports(folder);
}

ResultsWriter::~ResultsWriter() { std::fclose(file_); }

void ResultsWriter::line(const std::string& json) {
  const std::string text = json + "\n";
  const bool whole = std::fwrite(text.data(), 1, text.size(), file_) == text.size() && std::fflush(file_) == 0;
  if (!whole) throw Error("writing " + path_ + " failed: " + std::generic_category().message(errno));
}

namespace {

// ASCII only: a line cut anywhere stays text, and no reader takes an exotic line separator for the end of a
// line.
std::string dump(const Json& record) { return record.dump(-1, ' ', true, Json::error_handler_t::replace); }

}  // namespace

void ResultsWriter::run(const RunInfo& info) {
  line(dump({{"record", "run"},
             {"command", info.command},
             {"arguments", info.arguments},
             {"version", info.version},
             {"commit", info.commit},
             {"started", info.started},
             {"tier", info.tier},
             {"seed", info.seed},
             {"cpu", info.cpu},
             {"os", info.os},
             {"compiler", info.compiler},
             {"threads", info.threads},
             {"memory_bytes", info.memory_bytes},
             {"cuda_build", info.cuda_build},
             {"cuda_device", info.cuda_device},
             {"transport", info.transport}}));
}

void ResultsWriter::not_run(const std::string& candidate, const std::string& why) {
  line(dump({{"record", "not_run"}, {"candidate", candidate}, {"why", why}}));
}

void ResultsWriter::evidence(std::int64_t sequence, const Evidence& evidence, const CaseVerdict& verdict) {
  assert_that(verdict.case_line == evidence.case_line, "evidence and verdict speak of one Case");
  Json tensors = tensors_json(evidence.tensors);
  const NoiseEvidence& noise = evidence.noise;
  if (evidence.by_value.count > 0) tensors.push_back(tensor_json(evidence.by_value));
  line(dump({{"record", "case"},
             {"sequence", sequence},
             {"candidate", evidence.candidate},
             {"case", evidence.case_line},
             {"dtype", std::string(ringproof::to_string(evidence.dtype))},
             {"mask", ringproof::to_string(evidence.mask)},
             {"status", to_string(evidence.status)},
             {"outcome", ringproof::to_string(verdict.outcome)},
             {"reason", verdict.reason},
             {"failing_checks", failing_checks(evidence)},
             {"smallest_case", verdict.smallest_case},
             {"attribution", verdict.attribution},
             {"warnings", verdict.warnings},
             {"structure_faults", evidence.structure_faults},
             {"determinism_faults", evidence.determinism_faults},
             {"property_faults", evidence.property_faults},
             {"tensors", tensors},
             {"independent", evidence.is_independent},
             {"probabilistic", tensors_json(evidence.probabilistic)},
             {"noise", noise_json(noise.is_judged, noise.all_heads, noise.worst_head, noise.worst_index)},
             {"bias", bias_json(evidence.bias.is_judged, evidence.bias.sums, evidence.bias.limit)},
             {"candidate_ms", number(evidence.candidate_ms)},
             {"reference_ms", number(evidence.reference_ms)}}));
}

void ResultsWriter::verdict(const Verdict& verdict) {
  Json facts = Json::array();
  for (const Fact& fact : verdict.facts) facts.push_back(fact_json(fact));
  line(dump({{"record", "verdict"},
             {"candidate", verdict.candidate},
             {"outcome", ringproof::to_string(verdict.outcome)},
             {"scope", verdict.scope},
             {"contract", verdict.contract},
             {"count_cases", verdict.count_cases},
             {"count_accepted", verdict.count_accepted},
             {"count_unsupported", verdict.count_unsupported},
             {"count_refused", verdict.count_refused},
             {"count_inconclusive", verdict.count_inconclusive},
             {"count_rejected", verdict.count_rejected},
             {"count_elements", verdict.count_elements},
             {"bound_used", number(verdict.bound_used)},
             {"noise", noise_json(true, verdict.noise, {}, {})},
             {"bias", bias_json(true, verdict.bias, verdict.bias_limit)},
             {"failing_checks", verdict.failing_checks},
             {"reason", verdict.reason},
             {"time_ms", number(verdict.time_ms)},
             {"facts", facts}}));
}

void ResultsWriter::ranks(const ScheduleTraffic& traffic) {
  Json ranks = Json::array();
  for (const RankReport& rank : traffic.ranks) ranks.push_back(rank_json(rank));
  line(dump({{"record", "ranks"},
             {"candidate", traffic.candidate},
             {"topology", ringproof::to_string(traffic.topology)},
             {"count_ranks", traffic.topology.rank_count},
             {"outcome", ringproof::to_string(traffic.outcome)},
             {"count_cases", traffic.count_cases},
             {"bytes_sent", tally_json(traffic.bytes_sent)},
             {"exchanges", tally_json(traffic.exchanges)},
             {"memory_bytes_peak", tally_json(traffic.memory_bytes_peak)},
             {"pairs", tally_json(traffic.pairs)},
             {"longest_case", traffic.longest_case},
             {"longest_ms", number(traffic.longest_ms)},
             {"work_over_mean", number(traffic.work_over_mean())},
             {"ranks", ranks}}));
}

void ResultsWriter::power(const ClassPower& power) {
  Json effects = Json::array(), faults = Json::array();
  for (std::size_t i = 0; i < kEffects.size(); ++i) {
    effects.push_back(
        Json{{"name", ringproof::to_string(kEffects[i])}, {"least_rejected", number(power.power.effects[i])}});
  }
  for (std::size_t i = 0; i < kFloorFaults.size(); ++i) {
    const FaultSight& fault = power.power.faults[i];
    faults.push_back(Json{{"name", ringproof::to_string(kFloorFaults[i])},
                          {"sight", ringproof::to_string(fault.sight)},
                          {"why", fault.why},
                          {"bound_used", number(fault.bound_used)}});
  }
  line(dump({{"record", "power"},
             {"candidate", power.candidate},
             {"dtype", std::string(ringproof::to_string(power.dtype))},
             {"mask", ringproof::to_string(power.mask)},
             {"keys", length_class_name(power.length_class)},
             {"count_cases", power.count_cases},
             {"effects", effects},
             {"faults", faults}}));
}

void ResultsWriter::end(const RunEnd& end) {
  line(dump({{"record", "end"},
             {"exit_code", end.exit_code},
             {"interrupted", end.interrupted},
             {"count_cases", end.count_cases},
             {"time_s", number(end.time_s)}}));
}

}  // namespace ringproof
