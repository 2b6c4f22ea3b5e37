// What a user sees of a power run: matrix, what cannot be seen, survivors, files. The run itself is power_run.cpp.

#include "ci/power.h"

#include <fmt/format.h>

#include "ci/interrupt.h"
#include "ci/machine.h"
#include "ci/power_files.h"
#include "ci/power_matrix.h"
#include "ci/power_run.h"
#include "ci/progress.h"

namespace ringproof {
namespace {

void print_unseen() {
  fmt::print("\nwhat these Cases cannot see, whoever judges:\n");
  for (const UnseenFault& fault : unseen_faults()) {
    fmt::print("  {}: {}; seen {}\n", fault.fault, fault.reason, fault.floor);
  }
}

void print_left_out(const PowerMatrix& matrix) {
  if (matrix.is_complete) return;
  std::int64_t calls = 0;
  for (const PowerRow& row : matrix.rows) calls += row.cases_left_out;
  fmt::print(
      "\nleft out: {} calls on big Cases and the properties of {} mutants, all of them rejected before; "
      "--complete asks everything\n",
      calls, matrix.mutants_without_properties);
}

ExitCode print_outcome(const PowerMatrix& matrix) {
  fmt::print("\n");
  for (const PowerRow* row : matrix.surprises()) {
    const bool is_mutant = row->kind == PowerRow::Kind::kMutant;
    const bool no_effect = is_mutant && row->cases_differing == 0;
    fmt::print("{}: {} is {}, want {}{}{}\n", is_mutant ? "SURVIVES" : "NOT ACCEPTED", row->name,
               to_string(row->outcome), to_string(row->want),
               no_effect ? "; its bits never differ from its specimen's" : "",
               row->reason.empty() ? "" : " (" + row->reason + " on '" + row->first_case + "')");
  }
  if (matrix.is_interrupted) {
    fmt::print("interrupted after {} of {} Cases; what was finished is kept\n", matrix.cases_done, matrix.cases_asked);
    return ExitCode::kInconclusive;
  }
  return matrix.surprises().empty() ? ExitCode::kAccepted : ExitCode::kRejected;
}

}  // namespace

ExitCode run_power(const PowerOptions& options) {
  const Machine machine = this_machine();
  CaseChoice choice = options.cases;
  choice.memory_bytes_max = machine.memory_bytes;
  const std::vector<Case> cases = choose_cases(choice);
  const PowerSubjects subjects = choose_subjects(options.mutants);
  const int threads = options.threads > 0 ? options.threads : machine.cores;
  PowerFiles files(options.out);
  Progress progress(static_cast<std::int64_t>(cases.size()));
  const Interrupt interrupt;
  const PowerMatrix matrix =
      measure_power(subjects, cases, threads, options.is_complete, [&](std::int64_t done, const std::string& line) {
        progress.show(done, line);
        return !interrupt.asked();
      });
  progress.clear();
  print_matrix(matrix);
  print_unseen();
  print_left_out(matrix);
  const ExitCode code = print_outcome(matrix);
  files.write({options.arguments, choice.tier, choice.seed, machine.cpu, threads, static_cast<int>(code)}, matrix);
  const std::size_t mutants = matrix.of(PowerRow::Kind::kMutant).size();
  fmt::print("{}: {} mutants and {} correct kernels on {} Cases in {:.1f} s{}\n",
             code == ExitCode::kAccepted ? "as wanted" : "NOT AS WANTED", mutants,
             matrix.of(PowerRow::Kind::kCorrect).size(), matrix.cases_done, matrix.seconds,
             options.out.empty() ? "" : "; records in " + options.out);
  return code;
}

}  // namespace ringproof
