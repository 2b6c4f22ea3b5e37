// What a user sees of a run: the table, what did not run, the exit code. The run itself is gate_run.cpp.

#include "ci/gate.h"

#include <fmt/format.h>

#include <chrono>
#include <span>

#include "ci/gate_run.h"
#include "ci/gate_table.h"
#include "ci/machine.h"
#include "ci/transport.h"
#include "reference/spec/error.h"
#include "reports/results.h"

namespace ringproof {
namespace {

void require_known(const std::vector<std::string>& needs) {
  for (const std::string& need : needs) {
    if (need != "cuda" && need != "nccl" && need != "mpi") {
      throw InputError("--require knows cuda, nccl and mpi, not '" + need + "'");
    }
  }
}

// A verdict stands whether or not its JUnit file can be written; an acceptance without the file is none.
ExitCode leave_junit(const std::string& out, std::span<const Verdict> verdicts, ExitCode code) {
  try {
    write_junit(out, verdicts);
    return code;
  } catch (const Error& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
    return code == ExitCode::kAccepted ? ExitCode::kInconclusive : code;
  }
}

}  // namespace

ExitCode run_gate(const GateOptions& options) {
  require_known(options.require);
  const auto start = std::chrono::steady_clock::now();
  const Machine machine = this_machine();
  CaseChoice choice = options.cases;
  choice.memory_bytes_max = machine.memory_bytes;
  choice.sampling = options.sampling;
  GateRun run(options, cases_on_transport(options, choose_cases(choice)), machine);
  run.judge_all();
  const std::vector<Verdict> verdicts = run.verdicts();
  const ExitCode judged = run.exit_code(verdicts);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  run.end_record(verdicts, judged, seconds);
  const ExitCode code = options.out.empty() ? judged : leave_junit(options.out, verdicts, judged);
  if (!verdicts.empty()) print_table(verdicts);
  print_traffic(run.traffic());
  run.coverage().print();
  print_power(run.powers());
  for (const NotRun& one : run.notes()) fmt::print("note: {}: {}\n", one.what, one.why);
  for (const NotRun& one : run.not_run()) fmt::print("not run: {}: {}\n", one.what, one.why);
  for (const NotRun& one : run.not_asked()) fmt::print("not asked: {}: {}\n", one.what, one.why);
  for (const std::string& name : run.nothing_judged()) fmt::print("inconclusive: {}: nothing was judged\n", name);
  for (const std::string& need : run.missing_requirements()) fmt::print("inconclusive: --require {}: not here\n", need);
  if (run.cases_done() < run.cases_asked()) {
    fmt::print("interrupted after {} of {} Cases; what was finished is kept\n", run.cases_done(), run.cases_asked());
  }
  print_closing(code, run.cases_done(), seconds, options.out);
  return code;
}

}  // namespace ringproof
