#include "ci/scale.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ci/exit_codes.h"
#include "ci/files.h"
#include "ci/judge_one.h"
#include "ci/machine.h"
#include "distributed/at_scale/at_scale.h"
#include "distributed/at_scale/step_times.h"
#include "reference/judge/schedule_traffic.h"
#include "reference/judge/verify.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr const char* kExamples = R"(
Runs the MPI transport, the ring and its local step as they are, every rank a simulated process of SimGrid's SMPI, in
one process of this machine. Answers are real, and every element is judged; bytes are counted. Times are simulated,
those of the network and of GPUs of the speed given: each step of each rank is held to the overlap formula.

Examples
  ringproof scale                                        64 ranks in islands of 8 GPUs, about 2 s
  ringproof scale --ranks 256 --network infiniband_fat_tree
  ringproof scale --ranks 1024 --json scale.json         about four minutes, 0.5 GiB
  ringproof scale --tflops 0.01                          slow GPUs: computing hides the transfers

Exit codes
  0 accepted   1 rejected: answers, traffic or times   2 bad usage or input   3 inconclusive, or no SimGrid here
)";

struct Options {
  int ranks = 64, tokens_per_rank = 16, heads = 2, heads_kv = 0, head_dim = 64, threads = 0;
  std::string network = "nvlink_islands", schedule = "zigzag", mask = "causal_top_left", dtype = "fp32", json, program;
  double tflops = 600, deadline_seconds = 3600;
  std::uint64_t seed = 1;
};

Case case_of(const Options& options) {
  const int heads_kv = options.heads_kv == 0 ? options.heads : options.heads_kv;
  if (options.schedule != "zigzag" && options.schedule != "striped" && options.schedule != "contiguous") {
    throw InputError("--schedule knows zigzag, striped and contiguous, not '" + options.schedule + "'");
  }
  if (options.tokens_per_rank % 2 != 0) {
    throw InputError("--tokens-per-rank is even, so that zigzag gives every rank as many; it was " +
                     std::to_string(options.tokens_per_rank));
  }
  const std::int64_t tokens = std::int64_t{options.ranks} * options.tokens_per_rank;
  const double scale = 1 / std::sqrt(static_cast<double>(options.head_dim));
  Case c = parse_case(fmt::format("fwd/{}/b1.hq{}.hkv{}.sq{}.skv{}.dqk{}.dv{}/{}/scale{}/gauss:{}/bhsd/single",
                                  options.dtype, options.heads, heads_kv, tokens, tokens, options.head_dim,
                                  options.head_dim, options.mask, static_cast<float>(scale), options.seed));
  c.problem.topology = parse_topology(options.schedule + std::to_string(options.ranks));
  return c;
}

void add_options(CLI::App& app, Options& options) {
  app.footer(kExamples);
  std::string known;
  for (const Network& one : networks()) known += "; " + one.name + ": " + one.words;
  app.add_option("--ranks", options.ranks, "Ranks, a GPU each")->check(CLI::Range(2, 1024))->capture_default_str();
  app.add_option("--network", options.network, "The described network" + known)->capture_default_str();
  app.add_option("--tokens-per-rank", options.tokens_per_rank, "Queries and keys of a rank, an even number")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  app.add_option("--tflops", options.tflops, "Speed of a GPU, 10^12 operations per second")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--schedule", options.schedule, "zigzag, striped or contiguous")->capture_default_str();
  app.add_option("--mask", options.mask, "causal_top_left or full")
      ->check(CLI::IsMember({"causal_top_left", "full"}))
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "Storage: fp64, fp32, fp16 or bf16")
      ->check(CLI::IsMember({"fp64", "fp32", "fp16", "bf16"}))
      ->capture_default_str();
  app.add_option("--heads", options.heads, "Query heads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--heads-kv", options.heads_kv, "Heads of K and V (default: as many)")->check(CLI::Range(1, 256));
  app.add_option("--head-dim", options.head_dim, "Width of a head")->check(CLI::Range(1, 512))->capture_default_str();
  app.add_option("--seed", options.seed, "Of the inputs")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--threads", options.threads, "Threads of the reference (default: all cores)")
      ->check(CLI::Range(1, 4096));
  app.add_option("--deadline", options.deadline_seconds, "Seconds the simulation may take on this machine")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--json", options.json, "File to write (default: none)");
  app.add_option("--ranks-program", options.program, "What smpirun runs on every rank")->group("");
}

struct Result {
  Case c;
  Evidence evidence;
  CaseVerdict verdict;
  StepTimes times;
  Tally bytes_sent, exchanges, pairs, memory_bytes_peak;
  Outcome outcome = Outcome::kInconclusive;
  double seconds = 0, simulation_seconds = 0;
};

Result judge(const Options& options, const AtScale& how) {
  const auto begin = std::chrono::steady_clock::now();
  const auto times_s = std::make_shared<std::vector<double>>();
  const Candidate candidate = at_scale_candidate(how, times_s);
  Result result{case_of(options)};
  const SamplingRule rule = all_rows();
  require_judgeable(result.c, rule, this_machine().memory_bytes);
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  const Reference reference = prepare(result.c, rule, threads);
  Buffers buffers;
  Got got{};
  result.evidence = judge_one(candidate, reference, buffers, &got);
  result.verdict = verify_case(result.evidence);
  result.outcome = result.verdict.outcome;
  result.simulation_seconds = got.time_ms / 1000;
  ScheduleTraffic traffic;
  add(traffic, result.c, result.evidence);
  result.bytes_sent = traffic.bytes_sent;
  result.exchanges = traffic.exchanges;
  result.pairs = traffic.pairs;
  result.memory_bytes_peak = traffic.memory_bytes_peak;
  if (!times_s->empty()) {
    result.times = hold_step_times(result.c.problem, how.network, how.flops, *times_s);
    if (!result.times.faults.empty()) result.outcome = worst(result.outcome, Outcome::kRejected);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

ExitCode code_of(Outcome outcome) {
  if (outcome == Outcome::kAccepted) return ExitCode::kAccepted;
  return outcome == Outcome::kRejected ? ExitCode::kRejected : ExitCode::kInconclusive;
}

std::int64_t elements_judged(const Result& result) {
  std::int64_t count = 0;
  for (const TensorEvidence& one : result.evidence.tensors) count += one.count - one.count_not_judged;
  return count;
}

std::string tally(const Tally& tally) {
  return tally.got == tally.want ? fmt::format("{} =", tally.got) : fmt::format("{} of {}", tally.got, tally.want);
}

void print(const Options& options, const AtScale& how, const Result& result) {
  const StepTimes& times = result.times;
  fmt::print("{}\n{}: {}; GPUs of {:g} TFLOP/s\n\n", to_string(result.c), how.network.name, how.network.words,
             options.tflops);
  const auto row = [](const char* name, const std::string& value) { fmt::print("  {:<22} {}\n", name, value); };
  row("ranks", std::to_string(options.ranks));
  row("verdict", to_string(result.outcome));
  double bound_used = 0;
  for (const TensorEvidence& one : result.evidence.tensors) bound_used = std::max(bound_used, one.bound_used);
  row("elements judged", fmt::format("{}, bound used {}", elements_judged(result), share_text(bound_used)));
  row("bytes sent", tally(result.bytes_sent) + "   (= equals its formula)");
  row("exchanges", tally(result.exchanges));
  row("pairs computed", tally(result.pairs));
  row("peak buffers, bytes", tally(result.memory_bytes_peak));
  if (times.simulated_s > 0) {
    row("simulated time",
        fmt::format("{:.6g} ms, formula {:.6g} to {:.6g} ms; {} steps held one by one", 1e3 * times.simulated_s,
                    1e3 * times.low_s, 1e3 * times.high_s, times.steps_held));
    row("of it computing", fmt::format("{:.3g} % of a GPU's time; a block's slowest way takes {:.4g} us",
                                       100 * times.computing_s / times.simulated_s, 1e6 * times.transfer_low_s));
    row("tokens per rank", fmt::format("{}; transfers hide from {:.4g} on, latency left out", options.tokens_per_rank,
                                       times.tokens_to_hide_transfers));
  }
  fmt::print("\n");
  if (!result.verdict.reason.empty()) fmt::print("answers: {}\n", result.verdict.reason);
  for (const std::string& fault : times.faults) fmt::print("times: {}\n", fault);
  fmt::print("{}: {} ranks in {:.1f} s, {:.1f} s of them the simulation\n", to_string(result.outcome), options.ranks,
             result.seconds, result.simulation_seconds);
}

void write_json(const Options& options, const AtScale& how, const Result& result) {
  const auto of_tally = [](const Tally& tally) { return nlohmann::json{{"got", tally.got}, {"want", tally.want}}; };
  const StepTimes& times = result.times;
  const nlohmann::json json{{"version", 1},
                            {"case", to_string(result.c)},
                            {"network", how.network.name},
                            {"ranks", options.ranks},
                            {"tflops", options.tflops},
                            {"outcome", to_string(result.outcome)},
                            {"reason", result.verdict.reason},
                            {"elements_judged", elements_judged(result)},
                            {"bytes_sent", of_tally(result.bytes_sent)},
                            {"exchanges", of_tally(result.exchanges)},
                            {"pairs", of_tally(result.pairs)},
                            {"memory_bytes_peak", of_tally(result.memory_bytes_peak)},
                            {"simulated_s", times.simulated_s},
                            {"formula_low_s", times.low_s},
                            {"formula_high_s", times.high_s},
                            {"computing_s", times.computing_s},
                            {"transfer_s", times.transfer_low_s},
                            {"tokens_to_hide_transfers", times.tokens_to_hide_transfers},
                            {"steps_held", times.steps_held},
                            {"time_faults", times.faults},
                            {"seconds", result.seconds},
                            {"simulation_seconds", result.simulation_seconds}};
  write_whole(options.json, json.dump(2) + "\n");
}

}  // namespace

int run_scale(int count, char** arguments) {
  CLI::App app(
      "A ring over many simulated ranks in a described network: judged, its times held to the overlap formula.",
      "ringproof scale");
  Options options;
  add_options(app, options);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    throw InputError(std::string(error.what()) + "; see ringproof scale --help");
  }
  if (options.program.empty()) {
    options.program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "ringproof_at_scale";
  }
  const AtScale how{network_of(options.network), 1e12 * options.tflops, options.program, options.deadline_seconds};
  case_of(options);  // bad input is refused wherever this runs
  if (const std::string reason = at_scale_not_here_reason(how); !reason.empty()) {
    fmt::print("not run: {}\ninconclusive: nothing judged\n", reason);
    return static_cast<int>(ExitCode::kInconclusive);
  }
  const Result result = judge(options, how);
  print(options, how, result);
  if (!options.json.empty()) write_json(options, how, result);
  return static_cast<int>(code_of(result.outcome));
}

}  // namespace ringproof
