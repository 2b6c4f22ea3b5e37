// The race checker's own executable, which `ringproof racecheck` becomes: here every kernel is instrumented, and no
// other copy of one is linked.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "ci/exit_codes.h"
#include "gpu/racecheck/canary.h"
#include "gpu/racecheck/check.h"
#include "gpu/racecheck/kernels.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

constexpr const char* kExamples = R"(
Runs kernels on the host runtime, every load and store told, and looks for accesses that CUDA's synchronisation leaves
unordered: within a block, between blocks, against cp.async, and reads of shared memory that nobody has written. Then
drops every line that synchronises in turn: each must be needed on one of the Cases, or say "// redundant: why".

Examples
  ringproof racecheck flash_forward_fp32
  ringproof racecheck all
  ringproof racecheck flash_forward_fp32 --case 'fwd/fp32/b1.hq1.hkv1.sq9.skv9.dqk8.dv8/full/scale1/gauss:7/bhsd/single'
  ringproof racecheck flash_forward_fp32 --without flash_forward_fp32.cuh:151     what that line keeps apart

Exit codes
  0 no race, every synchronisation needed or explained   1 not so   2 bad usage or input   3 the canary race is not seen
)";

struct Options {
  std::vector<std::string> kernels, case_lines;
  std::string without;
};

simt::host::Site parse_site(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  const std::string number = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (number.empty() || number.size() > 6 || number.find_first_not_of("0123456789") != std::string::npos) {
    throw InputError("--without takes file:line, as the checker prints it, and got '" + text + "'");
  }
  static std::string file;
  file = text.substr(0, colon);
  return {file.c_str(), std::stoi(number)};
}

std::vector<racecheck::Workload> workloads_of(const std::string& kernel, const Options& options) {
  if (options.case_lines.empty()) return racecheck::workloads_of(kernel, racecheck::cases_of(kernel));
  std::vector<Case> cases;
  for (const std::string& line : options.case_lines) cases.push_back(parse_case(line));
  return racecheck::workloads_of(kernel, cases);
}

bool report(const std::string& kernel, std::size_t case_count, const racecheck::Check& check, double seconds) {
  using racecheck::to_string;
  using simt::host::to_string;
  for (const std::string& fault : check.faults) std::printf("%s\n", fault.c_str());
  std::size_t needed = 0, redundant = 0;
  for (const racecheck::SyncCheck& sync : check.syncs) {
    if (sync.is_needed) {
      ++needed;
      continue;
    }
    const std::string at = to_string(sync.line.site);
    if (sync.reason.empty()) {
      std::printf("%s: without this %s no Case shows a race; delete it, or say '// redundant: why' there\n", at.c_str(),
                  to_string(sync.line.kind));
    } else {
      ++redundant;
      std::printf("%s: %s, redundant: %s\n", at.c_str(), to_string(sync.line.kind), sync.reason.c_str());
    }
  }
  if (!check.faults.empty()) {
    std::printf("%s: %zu %s in %zu cases (%.1f s)\n", kernel.c_str(), check.faults.size(),
                check.faults.size() == 1 ? "fault" : "faults", case_count, seconds);
  } else {
    std::printf("%s: no race in %zu cases, %zu synchronisations needed, %zu proven redundant (%.1f s)\n",
                kernel.c_str(), case_count, needed, redundant, seconds);
  }
  std::fflush(stdout);
  return check.is_clean();
}

int run_without(const std::string& kernel, const Options& options) {
  const simt::host::Site site = parse_site(options.without);
  std::vector<racecheck::SyncLine> seen;
  const std::vector<racecheck::Workload> workloads = workloads_of(kernel, options);
  for (const racecheck::Workload& workload : workloads) {
    const std::vector<std::string> races = racecheck::find_races(workload, site, &seen);
    for (const std::string& race : races) std::printf("%s; seen in %s\n", race.c_str(), workload.name.c_str());
    if (races.empty()) continue;
    std::printf("%s: a race without %s\n", kernel.c_str(), options.without.c_str());
    return 1;
  }
  std::string lines;
  bool is_known = false;
  for (const racecheck::SyncLine& line : seen) {
    is_known = is_known || same_place(line.site, site);
    lines += (lines.empty() ? "" : ", ") + to_string(line.site);
  }
  if (!is_known) throw InputError(kernel + " does not synchronise at " + options.without + "; it does at " + lines);
  std::printf("%s: no race without %s in %zu cases\n", kernel.c_str(), options.without.c_str(), workloads.size());
  return 0;
}

int run_command(int argc, char** argv) {
  CLI::App app("Looks for races in CUDA kernels without a GPU.", "ringproof racecheck");
  app.footer(kExamples);
  Options options;
  app.add_option("kernel", options.kernels, "Kernels as their candidates are named, or all")->required();
  app.add_option("--case", options.case_lines, "Case line to run instead of the built-in ones; repeat for several");
  app.add_option("--without", options.without, "FILE:LINE of a synchronisation that shall order nothing");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    throw InputError(std::string(error.what()) + "; see ringproof racecheck --help");
  }
  if (options.kernels == std::vector<std::string>{"all"}) options.kernels = racecheck::kernel_names();
  for (const std::string& kernel : options.kernels) racecheck::cases_of(kernel);  // an unknown one before any work

  if (const std::string failure = racecheck::canary_failure(); !failure.empty()) {
    std::fprintf(stderr, "ringproof racecheck: %s; nothing it says could be trusted\n", failure.c_str());
    return static_cast<int>(ExitCode::kInconclusive);
  }
  bool is_clean = true;
  for (const std::string& kernel : options.kernels) {
    if (!options.without.empty()) {
      is_clean = run_without(kernel, options) == 0 && is_clean;
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<racecheck::Workload> workloads = workloads_of(kernel, options);
    const racecheck::Check check = racecheck::check(workloads);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    is_clean = report(kernel, workloads.size(), check, seconds.count()) && is_clean;
  }
  return static_cast<int>(is_clean ? ExitCode::kAccepted : ExitCode::kRejected);
}

}  // namespace
}  // namespace ringproof

int main(int argc, char** argv) {
  try {
    return ringproof::run_command(argc, argv);
  } catch (const ringproof::InputError& error) {
    std::fprintf(stderr, "ringproof racecheck: %s\n", error.what());
    return static_cast<int>(ringproof::ExitCode::kBadInput);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ringproof racecheck: %s\n", error.what());
    return static_cast<int>(ringproof::ExitCode::kInconclusive);
  }
}
