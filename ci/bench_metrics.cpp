// A metric's name is all that two builds share, so it is made here from what was asked and nowhere else.

#include "ci/bench_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "ci/candidates.h"
#include "ci/candidates_outside.h"
#include "ci/machine.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

std::vector<std::string> default_lines() {
  std::vector<std::string> lines;
  for (const char* dtype : {"fp64", "fp32", "fp16", "bf16"}) {
    lines.push_back(fmt::format(
        "fwd/{}/b1.hq2.hkv2.sq512.skv512.dqk64.dv64/causal_bottom_right/scale0.125/gauss:1/bhsd/single", dtype));
  }
  return lines;
}

PartOf kind_of(const std::string& name) {
  std::string known;
  for (const Part& part : bench_parts()) {
    if (part.name == name) return part.of;
    known += (known.empty() ? "" : ", ") + std::string(part.name);
  }
  throw InputError("there is no part '" + name + "'; there are " + known);
}

class Chooser {
 public:
  explicit Chooser(const BenchOptions& options) : options_(options), machine_(this_machine()) {}

  MetricChoice choose() {
    if (options_.metrics_file.empty()) {
      combine();
    } else {
      read_file();
    }
    if (chosen_.metrics.empty()) {
      const std::string why = chosen_.left_out.empty() ? "" : " (" + chosen_.left_out.front() + ")";
      throw InputError("no candidate named here covers any of these Cases" + why + "; see ringproof list candidates");
    }
    return std::move(chosen_);
  }

 private:
  // Every part of every candidate on every Case that it declares.
  void combine() {
    CaseChoice choice = options_.cases;
    choice.memory_bytes_max = machine_.memory_bytes;
    choice.in_order = true;
    if (choice.lines.empty() && choice.files.empty() && choice.tier.empty()) choice.lines = default_lines();
    const std::vector<std::string> parts =
        options_.parts.empty() ? std::vector<std::string>{"forward"} : options_.parts;
    for (const std::string& part : parts) kind_of(part);
    std::vector<Candidate> candidates;
    if (options_.candidates.empty()) {
      candidates = choose_candidates({});
    } else {
      for (const std::string& name : options_.candidates) candidates.push_back(candidate(name));
    }
    for (const Case& c : choose_cases(choice)) {
      for (const std::string& part : parts) {
        if (kind_of(part) == PartOf::kJudge) {
          chosen_.metrics.push_back({part, PartOf::kJudge, "", std::nullopt, c});
          continue;
        }
        for (const Candidate& one : candidates) add_if_declared(part, one, c);
      }
    }
  }

  void read_file() {
    const std::string& name = options_.metrics_file;
    std::ifstream file(name);
    if (!file) throw InputError("'" + name + "' cannot be read; give --metrics a file of metric names");
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      std::istringstream words(line.substr(0, line.find('#')));
      const std::vector<std::string> word{std::istream_iterator<std::string>(words), {}};
      if (word.empty()) continue;
      try {
        read_metric(word);
      } catch (const InputError& error) {
        throw InputError(fmt::format("{}:{}: {}", name, number, error.what()));
      }
    }
  }

  void read_metric(const std::vector<std::string>& word) {
    const PartOf of = kind_of(word[0]);
    const bool names_who = of != PartOf::kJudge;
    if (word.size() != (names_who ? 3u : 2u)) {
      throw InputError(fmt::format("wanted '{}{} <Case line>'", word[0], names_who ? " <candidate>" : ""));
    }
    const Case c = choose_cases({.lines = {word.back()}, .memory_bytes_max = machine_.memory_bytes}).front();
    if (names_who) {
      add_if_declared(word[0], candidate(word[1]), c);
    } else {
      chosen_.metrics.push_back({word[0], of, "", std::nullopt, c});
    }
  }

  // A kernel from outside is started once, however many metrics it has.
  const Candidate& candidate(const std::string& name) {
    const auto known = candidates_.find(name);
    if (known != candidates_.end()) return known->second;
    GateOptions asked;
    asked.candidates = {name};
    std::vector<NotRun> notes;
    return candidates_.emplace(name, candidates_of_gate(asked, {}, machine_, notes).front()).first->second;
  }

  void add_if_declared(const std::string& part, const Candidate& one, const Case& c) {
    const bool is_named = !options_.candidates.empty() || !options_.metrics_file.empty();
    if (!one.not_run_reason.empty()) return leave_out("not run: " + one.name + ": " + one.not_run_reason);
    const std::string outside = unsupported_reason(one.describe(c.problem.dtype, Direction::kForward), c.problem);
    if (outside.empty()) {
      chosen_.metrics.push_back({part, kind_of(part), one.name, one, c});
    } else if (is_named) {
      leave_out("not asked: " + one.name + " declares no " + outside);
    }
  }

  void leave_out(const std::string& sentence) {
    std::vector<std::string>& said = chosen_.left_out;
    if (std::find(said.begin(), said.end(), sentence) == said.end()) said.push_back(sentence);
  }

  const BenchOptions& options_;
  Machine machine_;
  std::map<std::string, Candidate> candidates_;
  MetricChoice chosen_;
};

}  // namespace

std::vector<Part> bench_parts() {
  return {{"forward", PartOf::kCandidate, "the candidate's call; of a kernel from outside, the worker's round trip"},
          {"verdict", PartOf::kCandidate, "the call, the comparison and what decides"},
          {"comparison", PartOf::kCandidate, "bounds, errors and statistics of one output"},
          {"race_check", PartOf::kProcess, "ringproof racecheck of the kernel on this Case"},
          {"forward_mpi", PartOf::kProcess, "the candidate's call, each rank an MPI process"},
          {"reference", PartOf::kJudge, "inputs, answer and row statistics, as a verdict needs them"},
          {"plain_oracle", PartOf::kJudge, "the plain oracle's answer and statistics"},
#ifdef RINGPROOF_HAS_FAST_ORACLE
          {"fast_oracle", PartOf::kJudge, "the fast oracle's answer and statistics"},
#endif
          {"bounds", PartOf::kJudge, "the deterministic bound of every element"}};
}

std::string Metric::name() const { return part + " " + (who.empty() ? "" : who + " ") + to_string(c); }

MetricChoice choose_metrics(const BenchOptions& options) { return Chooser(options).choose(); }

}  // namespace ringproof
