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

/// One line for each synchronisation; returns the counts in words.
std::string report_syncs(const racecheck::Check& check) {
  std::size_t needed = 0, redundant = 0;
  for (const racecheck::SyncCheck& sync : check.syncs) {
    std::string verdict = "needed";
    if (sync.is_needed) {
      ++needed;
    } else if (sync.reason.empty()) {
      verdict = "no Case shows a race without it; delete it, or say '// redundant: why' there";
    } else {
      ++redundant;
      verdict = "redundant: " + sync.reason;
    }
    std::printf("  %s %s: %s\n", simt::host::to_string(sync.line.site).c_str(), to_string(sync.line.kind),
                verdict.c_str());
  }
  return std::to_string(needed) + " synchronisations needed, " + std::to_string(redundant) + " proven redundant";
}

bool run_kernel(const std::string& kernel, const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<racecheck::Workload> workloads = workloads_of(kernel, options);
  // Cases of one's own need not be such that every synchronisation of a kernel matters.
  const bool drops = options.case_lines.empty();
  const racecheck::Check check = drops ? racecheck::check(workloads) : racecheck::check_races(workloads);
  for (const std::string& fault : check.faults) std::printf("%s\n", fault.c_str());
  const std::string cases = std::to_string(workloads.size()) + (workloads.size() == 1 ? " case" : " cases");
  std::string verdict =
      std::to_string(check.faults.size()) + (check.faults.size() == 1 ? " fault" : " faults") + " in " + cases;
  if (check.faults.empty()) verdict = "no race in " + cases;
  if (check.faults.empty() && drops) verdict += ", " + report_syncs(check);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("%s: %s (%.1f s)\n", kernel.c_str(), verdict.c_str(), seconds.count());
  std::fflush(stdout);
  return check.is_clean();
}

bool run_without(const std::string& kernel, const Options& options) {
  const simt::host::Site site = parse_site(options.without);
  std::vector<racecheck::SyncLine> seen;
  const std::vector<racecheck::Workload> workloads = workloads_of(kernel, options);
  for (const racecheck::Workload& workload : workloads) {
    const std::vector<std::string> races = racecheck::find_races(workload, site, &seen);
    for (const std::string& race : races) std::printf("%s; seen in %s\n", race.c_str(), workload.name.c_str());
    if (races.empty()) continue;
    std::printf("%s: a race without %s\n", kernel.c_str(), options.without.c_str());
    return false;
  }
  std::string lines;
  bool is_known = false;
  for (const racecheck::SyncLine& line : seen) {
    is_known = is_known || same_place(line.site, site);
    lines += (lines.empty() ? "" : ", ") + to_string(line.site);
  }
  if (!is_known) throw InputError(kernel + " does not synchronise at " + options.without + "; it does at " + lines);
  std::printf("%s: no race without %s in %zu cases\n", kernel.c_str(), options.without.c_str(), workloads.size());
  return true;
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
    is_clean = (options.without.empty() ? run_kernel(kernel, options) : run_without(kernel, options)) && is_clean;
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
