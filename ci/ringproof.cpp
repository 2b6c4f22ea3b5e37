// The ringproof command: one file per sub-command, this one reads the command line and turns what they throw
// into an exit code.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "candidates/worker.h"
#include "ci/bench.h"
#include "ci/bench_oracle.h"
#include "ci/commit.h"
#include "ci/false_alarms.h"
#include "ci/gate.h"
#include "ci/launch.h"
#include "ci/list.h"
#include "ci/new.h"
#include "ci/power.h"
#include "ci/scale.h"
#include "ci/sibling.h"
#include "ci/transport.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// CLI11's own names the range of a double.
const CLI::Validator kPositive(
    [](std::string& text) {
      double number = 0;
      const bool is_positive = CLI::detail::lexical_cast(text, number) && number > 0;
      return is_positive ? std::string() : "must be a number above 0, not '" + text + "'";
    },
    "POSITIVE");

constexpr const char* kExamples = R"(
The fast tier takes about half a minute of one core, full and nightly longer; Ctrl-C keeps what was finished.

Examples
  ringproof gate                                         every built-in candidate on the fast Cases
  ringproof gate --candidate flash_forward_fp32 --tier full --out report
  ringproof gate --candidate ./libmine.so                your own kernel behind the C ABI, in a process of its own
  ringproof gate --candidate ring:double --topology zigzag8
  ringproof gate --candidate ring:double --topology zigzag4 --launcher mpirun
  ringproof gate --candidate python:my_ring:attention --ranks 4 --launcher mpirun     or spawn, torchrun
  ringproof gate --transport simulated                   every ring in random orders, its waiting proven
  ringproof gate --case 'fwd/fp32/b1.hq4.hkv2.sq99.skv300.dqk64.dv64/causal_bottom_right/scale0.125/gauss:7/bhsd/single'
  ringproof gate --cases mine.txt --in-order             replay a file of Case lines, call by call
  ringproof new c mine                                   a kernel of your own to start from, in C, CUDA or Python
  ringproof power                                        what the judge rejects: faults, check by check
  ringproof racecheck flash_forward_fp32                 races in a kernel, and whether it waits more than it must
  ringproof scale --ranks 256                            a ring of simulated ranks in a described network
  ringproof list candidates | kernels | recipes | masks | memory | cases

Exit codes
  0 accepted   1 rejected   2 bad usage or input   3 inconclusive   4 more declared Cases refused than allowed
)";

constexpr const char* kPowerExamples = R"(
Prints the kill matrix: a letter per check that rejects a mutant, a digit per published rule that would have, and
counts. A mutant counts only on Cases on which the correct kernel it is an edit of is accepted.
The fast tier takes minutes, full and nightly longer; --mutant runs one fault, with the kernel it is an edit of.

Examples
  ringproof power                                        every mutant and every correct kernel on the fast Cases
  ringproof power --out report                           and leave report/power.json and report/power.md
  ringproof power --mutant rescale_of_o_missing --tier full
  ringproof power --mutant scale_missing --case 'fwd/fp32/b1.hq1.hkv1.sq4.skv9.dqk8.dv8/full/scale2/gauss:7/bhsd/single'
  ringproof power --false-alarms 300 --out report        300 complete verdicts over correct kernels: none may reject
  ringproof power --false-alarms 2 --kernel kahan_sums --seed 5

Exit codes
  0 every mutant rejected and every correct kernel accepted   1 not so: they are named   2 bad usage or input
  3 interrupted
)";

constexpr const char* kBenchExamples = R"(
Shows the median and the quartiles of each metric's samples. The output of a timed call is judged, and a time without an
accepted verdict is not shown.

Examples
  ringproof bench                                        every built-in candidate on 512 rows of each dtype
  ringproof bench --candidate flash_forward_mma_bf16 --part forward --part plain_oracle --json now.json
  ringproof bench --candidate ring:double --cases mine.txt --samples 9
  ringproof bench compare before.json after.json         two such files, made apart
  ringproof bench history add now.json                   keep a run; `history` alone shows every series
  ringproof bench oracle --python python3                the reference beside its peers

Exit codes
  0 every time has an accepted verdict   1 an output is rejected   2 bad usage or input   3 inconclusive, interrupted
)";

// CLI11 would read -1 as 2^64 - 1.
std::string refuse_negative(const std::string& text) {
  return text.starts_with('-') ? "wanted a whole number of at least 0, got " + text : "";
}

// Where the ranks of a ring run.
void add_transport(CLI::App& gate, GateOptions& options) {
  gate.add_option("--transport", options.transport,
                  "Of rings: threads; mpi, in a job started by mpirun or srun; nccl, in one of a process per GPU; "
                  "simulated, which lets computations and "
                  "transfers happen in random orders (of --seed) and rejects every race, by rank, step and buffer")
      ->capture_default_str();
  gate.add_option("--launcher", options.launcher,
                  "Who starts ranks. For built-in rings mpirun, with this command on each; for a kernel of your own "
                  "spawn (this command), mpirun or torchrun, with a worker on each, which gets its shard");
  gate.add_option("--ranks", options.ranks,
                  "Processes for the launcher (default: as many as the Cases need); for a kernel of your own also "
                  "rewrites a tier's Cases to that many ranks, in the schedules it declares")
      ->check(CLI::Range(1, 4096));
  gate.add_option("--deadline", options.deadline_seconds,
                  "Seconds any wait of a rank may take over mpi, nccl or simulated")
      ->check(kPositive)
      ->capture_default_str();
}

// What a kernel from outside may take.
void add_workers(CLI::App& gate, GateOptions& options) {
  gate.add_option("--time-limit", options.workers.time_limit_seconds,
                  "Seconds one call of a kernel in a process of its own may take")
      ->check(kPositive)
      ->capture_default_str();
  gate.add_option("--memory-limit", options.workers.memory_limit_mib,
                  "MiB of resident memory its process may hold (default: half of this machine's)")
      ->check(kPositive);
  gate.add_option("--worker-fd", options.workers.descriptor,
                  "Judge the kernel that the caller serves at the other end of this socket")
      ->check(CLI::NonNegativeNumber);
}

// --topology is read here so that a bad one is refused before anything runs.
void add_gate(CLI::App& app, GateOptions& options, std::string& topology) {
  CLI::App* gate = app.add_subcommand("gate", "Judge candidates: verdict, exit code, records");
  gate->footer(kExamples);
  gate->add_option("--candidate", options.candidates,
                   "Candidate to judge: a built-in one by name, or your own: ./libmine.so, python:module:callable; "
                   "repeat for several (default: every built-in one)");
  gate->add_option("--case", options.cases.lines, "Case line to judge on; repeat for several");
  gate->add_option("--cases", options.cases.files,
                   "File of Case lines, one a line, # for remarks; - for standard input");
  gate->add_flag("--in-order", options.cases.in_order,
                 "Call in the order given, repeats included, instead of the seed's");
  gate->add_option("--topology", topology,
                   "Rewrite every Case's topology: single, contiguousN, stripedN, zigzagN, "
                   "head_splitN, all_gatherN, hybridMxzigzagN");
  gate->add_option("--tier", options.cases.tier,
                   "Cases that come with Ringproof: fast, full, nightly (default: fast, unless Cases are given)");
  gate->add_option("--seed", options.cases.seed, "Added to the seeds of the tier's Cases; also orders the run")
      ->check(refuse_negative)
      ->capture_default_str();
  gate->add_option("--out", options.out, "Folder for results.jsonl and junit.xml (default: write nothing)")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  gate->add_option("--require", options.require, "cuda, nccl or mpi: inconclusive (3) where it is not here");
  gate->add_option("--allow-unsupported", options.refusals_max, "Refusals of declared Cases allowed before exit code 4")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  gate->add_flag("!--no-shrink", options.shrink,
                 "Do not look for the smallest Case on which a rejected candidate still fails");
  gate->add_option("--work-max", options.sampling.work_flop_max,
                   "Judge a sample of the rows of Cases whose reference costs more floating-point operations")
      ->check(kPositive)
      ->capture_default_str();
  gate->add_option("--sample-rows", options.sampling.rows_sampled, "Query rows judged of such a Case")
      ->check(kPositive)
      ->capture_default_str();
  gate->add_option("--threads", options.threads, "Threads of the reference (default: all cores)")
      ->check(CLI::Range(1, 4096));
  add_transport(*gate, options);
  add_workers(*gate, options);
}

void add_power(CLI::App& app, PowerOptions& options) {
  CLI::App* power =
      app.add_subcommand("power", "Judge the judge: faults it must reject, correct kernels it must accept");
  power->footer(kPowerExamples);
  power->add_option("--mutant", options.mutants,
                    "Mutant to run, with its specimen; repeat for several (default: all, and every correct kernel)");
  CLI::Option* alarms =
      power
          ->add_option("--false-alarms", options.false_alarms,
                       "Judge correct kernels alone, so many runs over all Cases, each kernel in turn and every round "
                       "of them with inputs of its own; a mutant named stands among them, an alarm planted on purpose")
          ->check(kPositive);
  power
      ->add_option("--kernel", options.kernels,
                   "Correct kernel to run with --false-alarms; repeat for several (default: all)")
      ->needs(alarms);
  power
      ->add_flag("--complete", options.is_complete,
                 "Leave nothing out of the matrix: big Cases and properties of mutants that are rejected already")
      ->excludes(alarms);
  power->add_option("--tier", options.cases.tier,
                    "Cases that come with Ringproof: fast, full, nightly (default: fast)");
  power->add_option("--case", options.cases.lines, "Case line to run on instead; repeat for several");
  power->add_option("--seed", options.cases.seed, "Added to the seeds of the tier's Cases; also orders the run")
      ->check(refuse_negative)
      ->capture_default_str();
  power->add_option("--out", options.out,
                    "Folder for power.json and power.md, or alarms.json (default: write nothing)");
  power->add_option("--threads", options.threads, "Threads (default: all cores)")->check(CLI::Range(1, 4096));
}

void add_bench(CLI::App& app, BenchOptions& options, BenchOracleOptions& of_oracle) {
  CLI::App* bench = app.add_subcommand("bench", "Time candidates and parts of the judge; every time with its verdict");
  bench->footer(kBenchExamples);
  bench->require_subcommand(0, 1);
  bench->add_option("--candidate", options.candidates,
                    "Candidate to time; repeat for several (default: every built-in one)");
  bench->add_option("--part", options.parts,
                    "forward (default), verdict, comparison, race_check, forward_mpi, reference, plain_oracle, "
                    "fast_oracle or bounds; repeat for several");
  bench->add_option("--case", options.cases.lines, "Case line to time on; repeat (default: 512 rows of each dtype)");
  bench->add_option("--cases", options.cases.files, "File of Case lines; - for standard input");
  bench->add_option("--tier", options.cases.tier, "Cases that come with Ringproof: fast, full, nightly");
  bench->add_option("--metrics", options.metrics_file,
                    "File of lines '<part> [<candidate>] <Case line>' to time instead");
  bench->add_option("--samples", options.samples, "Samples of each metric")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  bench->add_option("--seconds", options.seconds_min, "Least measured time of a sample")
      ->check(kPositive)
      ->capture_default_str();
  bench->add_option("--calls", options.calls, "Calls of a sample, whatever they take (default: by --seconds)")
      ->check(CLI::Range(1, 1000000));
  bench->add_option("--repeat", options.repeat_share, "Share of calls made twice, to see whether a gate finds it")
      ->check(CLI::Range(0.0, 1.0));
  bench->add_flag("--yardsticks", options.yardsticks, "Measure what the machine can do, for --json");
  bench->add_option("--json", options.json, "File to write, as Google Benchmark writes it (default: none)");
  bench->add_option("--threads", options.threads, "Threads of the reference (default: all cores)")
      ->check(CLI::Range(1, 4096));
  bench->add_subcommand("compare", "Two JSON files of this command, made apart (scripts: --help of their own)");
  bench->add_subcommand("history", "Every metric over commits, with its change points");
  CLI::App* oracle = bench->add_subcommand("oracle", "The reference: beside the multiply-add peak, NumPy and PyTorch");
  oracle->add_option("--rounds", of_oracle.rounds, "Rounds; medians are shown")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  oracle->add_option("--python", of_oracle.python, "Python with NumPy (default: without NumPy and PyTorch)");
  oracle->add_option("--json", of_oracle.json, "File to write (default: none)");
  oracle->add_flag("--short", of_oracle.is_short, "One small workload, to see that everything runs");
  oracle->add_option("--threads", of_oracle.threads, "Threads (default: all cores)")->check(CLI::Range(1, 4096));
}

int run_command(int argc, char** argv) {
  // An executable of its own, in which every kernel is instrumented and no other copy of one is linked.
  if (argc > 1 && std::strcmp(argv[1], "racecheck") == 0) become_sibling("ringproof_racecheck", argv + 1);
  if (argc > 1 && std::strcmp(argv[1], "scale") == 0) return run_scale(argc - 1, argv + 1);
  if (argc > 2 && std::strcmp(argv[1], "bench") == 0) {
    if (std::strcmp(argv[2], "compare") == 0) become_perf_script("apart.py", argv + 2);
    if (std::strcmp(argv[2], "history") == 0) become_perf_script("history.py", argv + 2);
  }
  if (argc > 2 && std::strcmp(argv[1], "rank") == 0) return serve_launched_rank(argv + 2);
  CLI::App app("Ringproof judges attention kernels: every output element against a derived error bound.", "ringproof");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("ringproof ") + RINGPROOF_VERSION + " (" + built_commit() + ")");
  GateOptions options;
  options.arguments.assign(argv + 1, argv + argc);
  std::string topology, listed, tier = "fast";
  add_gate(app, options, topology);
  PowerOptions power;
  power.arguments = options.arguments;
  add_power(app, power);
  BenchOptions bench;
  BenchOracleOptions bench_oracle;
  add_bench(app, bench, bench_oracle);
  app.add_subcommand("racecheck", "Look for races in the kernels, and drop every synchronisation in turn");
  app.add_subcommand("scale", "A ring over up to 1,024 simulated ranks in a described network");
  std::string served;
  CLI::App* worker = app.add_subcommand("worker", "Serve a kernel to ringproof gate, which starts this itself");
  worker->add_option("name", served, "A plug-in's path, or cmd: and a command")->required();
  worker->group("");
  std::string language, folder;
  CLI::App* start = app.add_subcommand("new", "Leave a working kernel of your own to start from: c, cuda or python");
  start->add_option("language", language, "c, cuda or python")->required();
  start->add_option("folder", folder, "Where; made if it is not there")->required();
  CLI::App* list = app.add_subcommand("list", "Show candidates, kernels, recipes, masks, memory words or cases");
  list->add_option("what", listed, "candidates, kernels, recipes, masks, memory or cases")->required();
  list->add_option("--tier", tier, "Which tier's cases")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    const auto is_named = [&](const CLI::App* command) { return argc > 1 && command->get_name() == argv[1]; };
    const bool is_command = !std::as_const(app).get_subcommands(is_named).empty();
    throw InputError(std::string(error.what()) + "; see ringproof " + (is_command ? argv[1] + std::string(" ") : "") +
                     "--help");
  }
  if (worker->parsed()) {
    serve_worker(served);
    return 0;
  }
  if (start->parsed()) return static_cast<int>(run_new(language, folder));
  if (list->parsed()) return static_cast<int>(run_list(listed, tier));
  if (app.got_subcommand("bench")) {
    return static_cast<int>(app.get_subcommand("bench")->got_subcommand("oracle") ? run_bench_oracle(bench_oracle)
                                                                                  : run_bench(bench));
  }
  if (app.got_subcommand("power")) {
    if (power.cases.tier.empty() && power.cases.lines.empty()) power.cases.tier = "fast";
    return static_cast<int>(power.false_alarms > 0 ? run_false_alarms(power) : run_power(power));
  }
  if (!topology.empty()) options.cases.topology = parse_topology(topology);
  if (options.cases.tier.empty() && options.cases.lines.empty() && options.cases.files.empty())
    options.cases.tier = "fast";
  return static_cast<int>(run_gate_on_transport(options));
}

// What nobody could read is no acceptance: a full disk, a reader that went away.
int with_output_written(int code) {
  const bool is_written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (is_written) return code;
  std::fputs("ringproof: standard output could not be written; give it a disk with space, or a reader that stays\n",
             stderr);
  return code == 0 ? static_cast<int>(ExitCode::kInconclusive) : code;
}

}  // namespace
}  // namespace ringproof

int main(int argc, char** argv) {
  using ringproof::ExitCode;
  std::signal(SIGPIPE, SIG_IGN);  // a write that fails says so
  try {
    return ringproof::with_output_written(ringproof::run_command(argc, argv));
  } catch (const ringproof::InputError& error) {
    std::fprintf(stderr, "ringproof: %s\n", error.what());
    return static_cast<int>(ExitCode::kBadInput);
  } catch (const std::exception& error) {
    const int code = static_cast<int>(ExitCode::kInconclusive);
    if (std::ferror(stdout) != 0) return ringproof::with_output_written(code);
    std::fprintf(stderr, "ringproof: %s\n", error.what());
    return code;
  }
}
