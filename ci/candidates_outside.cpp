#include "ci/candidates_outside.h"

#include <cstdlib>
#include <filesystem>
#include <set>
#include <span>

#include "candidates/rank_candidate.h"
#include "candidates/worker_candidate.h"
#include "ci/candidates.h"
#include "ci/interrupt.h"
#include "ci/launch.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

// That of the environment; else the one of the virtual environment the command was installed into; else the path's.
std::string python_for(const std::filesystem::path& command) {
  const char* const named = std::getenv("RINGPROOF_PYTHON");
  if (named != nullptr && *named != '\0') return named;
  const std::filesystem::path beside = command.parent_path() / "python3";
  std::error_code unknown;
  return std::filesystem::exists(beside, unknown) ? beside.string() : "python3";
}

WorkerSetting setting_of(const GateOptions& options, const Machine& machine) {
  WorkerSetting setting;
  setting.ringproof = std::filesystem::read_symlink("/proc/self/exe");
  setting.python = python_for(setting.ringproof);
  setting.limits.seconds = options.workers.time_limit_seconds;
  setting.limits.memory_bytes =
      options.workers.memory_limit_mib > 0 ? options.workers.memory_limit_mib << 20 : machine.memory_bytes / 2;
  setting.limits.is_stopped = interrupt_asked;
  return setting;
}

}  // namespace

std::vector<Candidate> candidates_of_gate(const GateOptions& options, std::span<const Case> cases,
                                          const Machine& machine, std::vector<NotRun>& notes) {
  const WorkerSetting setting = setting_of(options, machine);
  std::vector<Candidate> candidates;
  const auto add = [&](DescribedWorker described) {
    for (std::string& note : described.notes) notes.push_back({described.candidate.name, std::move(note)});
    candidates.push_back(std::move(described.candidate));
  };
  std::set<std::string> named;
  for (const std::string& name : options.candidates) {
    if (!named.insert(name).second) continue;
    if (is_worker_name(name)) {
      add(spans_workers(options)
              ? rank_candidate(name, setting, rank_launcher(options), ranks_of_first_job(options, cases))
              : worker_candidate(name, setting));
    } else {
      candidates.push_back(choose_candidates(std::span(&name, 1)).front());
    }
  }
  candidates.insert(candidates.end(), options.own.begin(), options.own.end());
  if (options.workers.descriptor >= 0) add(worker_candidate(options.workers.descriptor, setting));
  return candidates.empty() ? choose_candidates({}) : candidates;
}

}  // namespace ringproof
