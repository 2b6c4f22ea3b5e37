// Launchers tell a process its place by variables, each by its own; none of them tells all of it.

#include "distributed/job_place.h"

#include <charconv>
#include <cstdint>
#include <cstring>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct Launch {
  const char *rank, *rank_count, *local_rank, *local_count, *job;
};

constexpr Launch kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", ""},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
     "PMIX_NAMESPACE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "SLURM_JOB_ID"},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_TASKS_PER_NODE", "SLURM_JOB_ID"},
};
constexpr int kPortMax = 65535, kPortsFirst = 20000, kPortsCount = 20000;

int number(const std::string& name, const char* text, int min, int max) {
  int value = 0;
  const char* const end = text + std::strlen(text);
  const auto [read, error] = std::from_chars(text, end, value);
  if (error != std::errc() || read != end || value < min || value > max) {
    throw InputError(name + " is '" + text + "'; give a whole number from " + std::to_string(min) + " to " +
                     std::to_string(max));
  }
  return value;
}

// FNV-1a, 32 bits: any number that all processes make the same.
int port_of_job(const std::string& job) {
  std::uint32_t hash = 2166136261u;
  for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return kPortsFirst + static_cast<int>(hash % kPortsCount);
}

void find_rank_0(const Environment& variable, const Launch& launch, JobPlace& place) {
  if (const char* const host = variable("MASTER_ADDR")) {
    const char* const port = variable("MASTER_PORT");
    if (port == nullptr) throw InputError("MASTER_ADDR is set and MASTER_PORT is not; give both");
    const char* const agent = variable("TORCHELASTIC_USE_AGENT_STORE");
    const bool is_taken = agent != nullptr && std::string(agent) == "True";
    place.host = host;
    place.port = number("MASTER_PORT", port, 1, kPortMax - 1) + (is_taken ? 1 : 0);
    return;
  }
  if (const char* const id = variable("NCCL_COMM_ID")) {
    const char* const colon = std::strrchr(id, ':');
    if (colon == nullptr) throw InputError("NCCL_COMM_ID is '" + std::string(id) + "'; give host:port");
    place.host.assign(id, colon);
    place.port = number("the port of NCCL_COMM_ID", colon + 1, 1, kPortMax - 1) + 1;
    return;
  }
  const char* const local_count = variable(launch.local_count);
  const char* const job = *launch.job == '\0' ? nullptr : variable(launch.job);
  if (job != nullptr && local_count != nullptr && local_count == std::to_string(place.rank_count)) {
    place.host = "127.0.0.1";
    place.port = port_of_job(job);
    return;
  }
  throw InputError("nothing says where rank 0 is; set MASTER_ADDR and MASTER_PORT on every rank");
}

}  // namespace

std::optional<JobPlace> job_place(const Environment& variable) {
  for (const Launch& launch : kLaunchers) {
    const char *const rank = variable(launch.rank), *const rank_count = variable(launch.rank_count);
    if (rank == nullptr || rank_count == nullptr) continue;
    constexpr int kRanksMax = 1 << 20;
    JobPlace place{};
    place.rank_count = number(launch.rank_count, rank_count, 1, kRanksMax);
    place.rank = number(launch.rank, rank, 0, place.rank_count - 1);
    const char* const local_rank = variable(launch.local_rank);
    place.local_rank = local_rank == nullptr ? 0 : number(launch.local_rank, local_rank, 0, place.rank_count - 1);
    find_rank_0(variable, launch, place);
    return place;
  }
  return std::nullopt;
}

}  // namespace ringproof
