// Kernels from outside over ranks: what goes together on the command line, and which Cases their ranks are asked.

#include "ci/launch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "candidates/worker_candidate.h"
#include "distributed/job_place.h"
#include "reference/spec/error.h"

namespace ringproof {
namespace {

const char* hint_of(const std::string& launcher) {
  if (launcher == "mpirun") return "install openmpi-bin, or take --launcher spawn";
  return "it comes with PyTorch; activate the environment that has it, or take --launcher spawn";
}

// The schedules of several ranks that any candidate declares.
std::vector<Schedule> schedules_of(std::span<const Candidate> candidates) {
  std::uint32_t declared = 0;
  for (const Candidate& one : candidates) declared |= one.describe(Dtype::kDefault, Direction::kForward).schedules;
  std::vector<Schedule> schedules;
  for (const Schedule schedule :
       {Schedule::kContiguous, Schedule::kStriped, Schedule::kZigzag, Schedule::kHeadSplit, Schedule::kAllGather}) {
    if ((declared & bit_of(schedule)) != 0) schedules.push_back(schedule);
  }
  return schedules;
}

// Kinds of Case that a topology of several ranks cannot have: those whose memory or inputs say otherwise.
bool is_judgeable(const Case& c) {
  try {
    require_judgeable(c, ~std::uint64_t{0});
    return true;
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace

bool spans_workers(const GateOptions& options) {
  const bool is_outside = std::any_of(options.candidates.begin(), options.candidates.end(), is_worker_name);
  if (options.launcher.empty() || !is_outside) return false;
  if (!std::all_of(options.candidates.begin(), options.candidates.end(), is_worker_name)) {
    throw InputError("--launcher starts kernels of your own or built-in rings, not both in one run; judge them apart");
  }
  if (options.launcher != "spawn" && options.launcher != "mpirun" && options.launcher != "torchrun") {
    throw InputError("--launcher knows spawn, mpirun and torchrun, not '" + options.launcher + "'");
  }
  if (options.transport != "threads") {
    throw InputError("--transport moves built-in rings; a kernel of your own brings its own, so leave it out");
  }
  if (options.workers.descriptor >= 0) throw InputError("--worker-fd serves one process; leave --launcher out");
  const std::optional<Topology>& topology = options.cases.topology;
  if (topology && options.ranks > 0 && topology->rank_count != options.ranks) {
    throw InputError(fmt::format("--topology {} has {} ranks and --ranks says {}; give one of the two",
                                 to_string(*topology), topology->rank_count, options.ranks));
  }
  return true;
}

RankLauncher rank_launcher(const GateOptions& options) {
  RankLauncher launcher{options.launcher, "", std::filesystem::read_symlink("/proc/self/exe")};
  if (launcher.name == "spawn") return launcher;
  launcher.program = program_on_path(launcher.name);
  if (launcher.program.empty()) {
    throw InputError(fmt::format("there is no {} on the path; {}", launcher.name, hint_of(launcher.name)));
  }
  return launcher;
}

int ranks_of_first_job(const GateOptions& options, std::span<const Case> cases) {
  int ranks = std::max(1, options.ranks);
  if (options.ranks > 0) return ranks;
  for (const Case& c : cases) ranks = std::max(ranks, c.problem.topology.rank_count);
  return ranks;
}

std::vector<Case> cases_over_ranks(const GateOptions& options, std::vector<Case> cases,
                                   std::span<const Candidate> candidates) {
  const bool is_given = !options.cases.lines.empty() || !options.cases.files.empty() || options.cases.topology;
  const std::vector<Schedule> schedules = schedules_of(candidates);
  std::size_t turn = 0;
  for (Case& c : cases) {
    Topology& topology = c.problem.topology;
    if (options.ranks == 0) continue;
    const bool is_declared =
        is_given || std::find(schedules.begin(), schedules.end(), topology.schedule) != schedules.end();
    if (topology.rank_count == options.ranks && is_declared) continue;
    if (is_given) {
      throw InputError(fmt::format("--ranks says {} and the Case {} has {}; leave --ranks out, or add --topology",
                                   options.ranks, to_string(c), topology.rank_count));
    }
    Case rewritten = c;
    rewritten.problem.topology = options.ranks == 1 || schedules.empty()
                                     ? Topology{Schedule::kSingle}
                                     : Topology{schedules[turn++ % schedules.size()], options.ranks};
    if (is_judgeable(rewritten)) c = rewritten;
  }
  if (options.ranks > 0 && !is_given) {
    const std::size_t before = cases.size();
    std::erase_if(cases, [&](const Case& c) { return c.problem.topology.rank_count != options.ranks; });
    if (cases.size() < before) fmt::print("not asked: {} Cases that need one rank\n", before - cases.size());
  }
  if (options.cases.in_order) return cases;
  std::stable_sort(cases.begin(), cases.end(), [](const Case& one, const Case& other) {
    return one.problem.topology.rank_count < other.problem.topology.rank_count;
  });
  return cases;
}

int serve_launched_rank(char** command) {
  const std::optional<JobPlace> place = job_place([](const char* name) { return std::getenv(name); });
  if (!place) throw InputError("ringproof rank is started by ringproof gate --launcher, whose launcher names the rank");
  const Variables variables{{"RANK", std::to_string(place->rank)},
                            {"WORLD_SIZE", std::to_string(place->rank_count)},
                            {"LOCAL_RANK", std::to_string(place->local_rank)}};
  return serve_rank(place->rank, variables, command);
}

std::string program_on_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::filesystem::path file = std::filesystem::path(rest.substr(0, end)) / program;
    if (access(file.c_str(), X_OK) == 0) return file;
    rest.erase(0, end + 1);
  }
  return "";
}

}  // namespace ringproof
