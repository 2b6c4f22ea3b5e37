// The launcher's exit code alone says too little: mpirun exits with 1 for troubles of its own, and with 137 for a rank
// that was killed. So process 0 writes its verdict's exit code to a file that the parent names; without it, or where it
// says 0 and mpirun does not, the run is inconclusive.

#include "ci/transport.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "ci/launch.h"
#include "ci/transport_nccl.h"
#include "distributed/remote_ranks.h"
#include "reference/spec/error.h"
#ifdef RINGPROOF_WITH_MPI
#include "distributed/communicator_mpi.h"
#endif

namespace ringproof {
namespace {

constexpr const char* kOutcomeVariable = "RINGPROOF_OUTCOME";
#ifdef RINGPROOF_WITH_MPI
constexpr const char* kReportsVariable = kMpiReportsVariable;
#else
constexpr const char* kReportsVariable = "";
#endif

ExitCode not_here(const GateOptions& options, const std::string& transport, const std::string& reason) {
  fmt::print("not run: transport {}: {}\n", transport, reason);
  const bool is_required =
      std::find(options.require.begin(), options.require.end(), transport) != options.require.end();
  if (is_required) fmt::print("inconclusive: --require {}: not here\n", transport);
  return is_required ? ExitCode::kInconclusive : ExitCode::kAccepted;
}

std::chrono::milliseconds deadline_of(const GateOptions& options) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options.deadline_seconds));
}

// The same command on every process, without what starts them.
std::vector<std::string> arguments_of_ranks(const std::vector<std::string>& typed) {
  std::vector<std::string> kept;
  for (std::size_t at = 0; at < typed.size(); ++at) {
    const auto is = [&](const std::string& option) {
      return typed[at] == option || typed[at].starts_with(option + "=");
    };
    if (is("--launcher") || is("--ranks") || is("--transport")) {
      if (typed[at].find('=') == std::string::npos) ++at;
      continue;
    }
    kept.push_back(typed[at]);
  }
  kept.insert(kept.end(), {"--transport", "mpi"});
  return kept;
}

[[noreturn]] void become(const std::vector<std::string>& command, const std::string& folder) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // mpirun ends its ranks when it is told to
  setenv(kOutcomeVariable, (folder + "/outcome").c_str(), 1);
  setenv(kReportsVariable, folder.c_str(), 1);
  setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 0);
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
  setenv("OMPI_MCA_odls_base_sigkill_timeout", "5", 0);  // seconds for a survivor to say where it stands
  if (geteuid() == 0) {  // Open MPI asks root to say so; the user of this command has asked for the launcher
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
  }
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(argv.front(), argv.data());
  std::perror("ringproof: mpirun");
  _exit(127);
}

std::string words_of_status(int status) {
  return WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                             : fmt::format("exited with code {}", WEXITSTATUS(status));
}

// Where ranks stood that mpirun ended.
std::string reports_in(const std::string& folder, int ranks) {
  std::string reports;
  for (int rank = 0; rank < ranks; ++rank) {
    std::string line;
    if (std::getline(std::ifstream(fmt::format("{}/rank-{}", folder, rank)), line)) reports += line + "\n";
  }
  return reports;
}

ExitCode run_under_mpirun(const GateOptions& options) {
#ifndef RINGPROOF_WITH_MPI
  return not_here(options, "mpi", "built without MPI; install libopenmpi-dev and build again");
#endif
  const std::string mpirun = program_on_path("mpirun");
  if (mpirun.empty()) return not_here(options, "mpi", "there is no mpirun on the path; install openmpi-bin");
  int ranks = options.ranks;
  if (ranks == 0) {
    CaseChoice choice = options.cases;
    choice.memory_bytes_max = ~std::uint64_t{0};
    choice.sampling = options.sampling;
    for (const Case& c : choose_cases(choice)) ranks = std::max(ranks, c.problem.topology.rank_count);
  }
  std::vector<std::string> command{mpirun, "-n", std::to_string(ranks),
                                   std::filesystem::read_symlink("/proc/self/exe")};
  for (const std::string& argument : arguments_of_ranks(options.arguments)) command.push_back(argument);
  char folder[] = "/tmp/ringproof_mpirun_XXXXXX";
  if (mkdtemp(folder) == nullptr) throw Error("no folder could be made in /tmp for the ranks' reports");
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw Error("mpirun could not be started: no process could be made");
  if (child == 0) become(command, folder);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  int code = -1;
  std::ifstream(std::string(folder) + "/outcome") >> code;
  const std::string reports = reports_in(folder, ranks);
  std::filesystem::remove_all(folder);
  const bool is_whole = WIFEXITED(status) && (WEXITSTATUS(status) == code || code > 0);
  if (code >= 0 && is_whole) return static_cast<ExitCode>(code);
  fmt::print("inconclusive: the MPI job of {} ranks ended before its verdict: mpirun {}\n", ranks,
             words_of_status(status));
  fmt::print("{}", reports);
  return ExitCode::kInconclusive;
}

#ifdef RINGPROOF_WITH_MPI
void leave_outcome(ExitCode code) {
  const char* const file = std::getenv(kOutcomeVariable);
  if (file != nullptr) std::ofstream(file) << static_cast<int>(code) << "\n";
}

// A process other than 0. After a failure it waits for process 0 to end the job, and then does so itself.
ExitCode serve(MpiJob& job, const GateOptions& options, std::chrono::milliseconds deadline) {
  try {
    serve_ranks(process_job(job), options.rings);
  } catch (const Error& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
    std::fflush(stderr);
    std::this_thread::sleep_for(deadline);
  }
  return static_cast<ExitCode>(job.end(0));
}

ExitCode run_in_job(GateOptions options) {
  const std::chrono::milliseconds deadline = deadline_of(options);
  MpiJob job(deadline);
  if (job.world().rank() != 0) return serve(job, options, deadline);
  const ProcessJob process = process_job(job);
  options.job = &process;
  ExitCode code = ExitCode::kInconclusive;
  try {
    job.run_beside([&] { code = run_gate(options); });
  } catch (const InputError& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
    code = ExitCode::kBadInput;
  } catch (const std::exception& error) {
    fmt::print(stderr, "ringproof: {}\n", error.what());
  }
  std::fflush(nullptr);
  leave_outcome(code);
  end_service(process);
  return static_cast<ExitCode>(job.end(static_cast<int>(code)));
}
#endif

}  // namespace

ExitCode run_gate_on_transport(GateOptions options) {
  if (spans_workers(options)) return run_gate(options);
  constexpr const char* kTransports[] = {"threads", "mpi", "nccl", "simulated"};
  if (std::find(std::begin(kTransports), std::end(kTransports), options.transport) == std::end(kTransports)) {
    throw InputError("--transport knows threads, mpi, nccl and simulated, not '" + options.transport + "'");
  }
  if (!options.launcher.empty() && options.launcher != "mpirun") {
    throw InputError("--launcher knows mpirun for built-in rings, not '" + options.launcher +
                     "'; spawn and torchrun are for kernels of your own");
  }
  if (options.ranks > 0 && options.launcher.empty()) {
    throw InputError("--ranks needs a --launcher: mpirun, or spawn or torchrun for a kernel of your own");
  }
  if (!options.launcher.empty() && options.transport == "simulated") {
    throw InputError("--transport simulated runs in this process; leave --launcher out");
  }
  if (!options.launcher.empty() && options.transport == "nccl") {
    throw InputError("--launcher mpirun starts processes over MPI; start --transport nccl by torchrun, mpirun or srun");
  }
  if (!options.launcher.empty()) return run_under_mpirun(options);
  if (options.transport == "nccl") {
    const std::string missing = nccl_not_here_reason();
    if (!missing.empty()) return not_here(options, "nccl", missing);
    return run_gate_over_nccl(std::move(options), [](const char* name) -> const char* { return std::getenv(name); });
  }
  if (options.transport != "mpi") return run_gate(options);
#ifdef RINGPROOF_WITH_MPI
  if (!is_in_mpi_job()) {
    throw InputError("--transport mpi runs in an MPI job; start it by mpirun -n P, or add --launcher mpirun");
  }
  return run_in_job(std::move(options));
#else
  return not_here(options, "mpi", mpi_not_run_reason(options));
#endif
}

std::vector<Candidate> on_transport(const GateOptions& options, std::vector<Candidate> candidates) {
  if (options.transport == "threads") return candidates;
  if (options.candidates.empty()) std::erase_if(candidates, [](const Candidate& one) { return !one.on_ranks; });
  if (options.transport == "simulated") {
    for (Candidate& one : candidates) one = simulated(one, options.cases.seed, deadline_of(options));
  }
  if (options.job == nullptr) return candidates;
  for (Candidate& candidate : candidates) {
    for (const RingComposition& composition : options.rings) {
      if (composition.name == candidate.name) candidate = remote_candidate(*options.job, composition);
    }
  }
  return candidates;
}

std::vector<Case> cases_on_transport(const GateOptions& options, std::vector<Case> cases) {
  if (options.job == nullptr) return cases;
  const int ranks = options.job->world->rank_count();
  const std::optional<Topology>& asked = options.cases.topology;
  if (asked && asked->rank_count > ranks) {
    throw InputError(fmt::format("the topology {} needs {} processes and this {} job has {}; start more",
                                 to_string(*asked), asked->rank_count, options.job->transport, ranks));
  }
  const std::size_t before = cases.size();
  std::erase_if(cases, [&](const Case& c) { return c.problem.topology.rank_count > ranks; });
  if (cases.size() < before) {
    fmt::print("not asked: {} Cases of more than {} ranks\n", before - cases.size(), ranks);
  }
  return cases;
}

bool has_failed(const GateOptions& options) { return options.job != nullptr && !options.job->failure().empty(); }

std::string mpi_not_run_reason(const GateOptions& options) {
#ifdef RINGPROOF_WITH_MPI
  return options.transport == "mpi" ? "" : "not asked for; add --launcher mpirun";
#else
  return "built without MPI; install libopenmpi-dev and build again";
#endif
}

std::string nccl_not_run_reason(const GateOptions& options) {
  if (options.transport == "nccl") return "";
  const std::string missing = nccl_not_here_reason();
  return missing.empty() ? "not asked for; start it by torchrun, mpirun or srun with --transport nccl" : missing;
}

}  // namespace ringproof
