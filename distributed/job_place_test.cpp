#include "distributed/job_place.h"

#include <gtest/gtest.h>

#include <map>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

using Variables = std::map<std::string, std::string>;

std::string place_in(const Variables& variables) {
  try {
    const std::optional<JobPlace> place = job_place([&](const char* name) -> const char* {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
    if (!place) return "none";
    return std::to_string(place->rank) + " of " + std::to_string(place->rank_count) + ", local " +
           std::to_string(place->local_rank) + ", " + place->host + ":" + std::to_string(place->port);
  } catch (const InputError& error) {
    return error.what();
  }
}

const Variables kTorchrun{{"RANK", "3"},
                          {"WORLD_SIZE", "8"},
                          {"LOCAL_RANK", "1"},
                          {"MASTER_ADDR", "node0"},
                          {"MASTER_PORT", "29500"},
                          {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Variables kMpirun{{"OMPI_COMM_WORLD_RANK", "1"},
                        {"OMPI_COMM_WORLD_SIZE", "2"},
                        {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                        {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                        {"PMIX_NAMESPACE", "job-7"}};
const Variables kSlurm{{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "16"}, {"SLURM_LOCALID", "1"}, {"SLURM_JOB_ID", "42"}};

Variables with(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more) variables[name] = value;
  return variables;
}

TEST(JobPlaces, EveryLauncherIsUnderstood) {
  EXPECT_EQ(place_in({}), "none");
  EXPECT_EQ(place_in(kTorchrun), "3 of 8, local 1, node0:29501") << "the agent has the port itself";
  EXPECT_EQ(place_in(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})), "3 of 8, local 1, node0:29500");
  EXPECT_EQ(place_in({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"NCCL_COMM_ID", "127.0.0.1:29517"}}),
            "0 of 1, local 0, 127.0.0.1:29518");
  EXPECT_EQ(place_in(with(kSlurm, {{"MASTER_ADDR", "n"}, {"MASTER_PORT", "1000"}})), "5 of 16, local 1, n:1000");
  EXPECT_EQ(place_in({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MASTER_ADDR", "n"}, {"MASTER_PORT", "1"}}),
            "1 of 2, local 0, n:1");
}

TEST(JobPlaces, ThoseOfOneMachineMeetAtAPortOfTheirJob) {
  const std::string place = place_in(kMpirun);
  EXPECT_TRUE(place.starts_with("1 of 2, local 1, 127.0.0.1:")) << place;
  EXPECT_EQ(place, place_in(kMpirun));
  EXPECT_NE(place, place_in(with(kMpirun, {{"PMIX_NAMESPACE", "job-8"}})));
}

TEST(JobPlaces, WhatIsMissingOrMalformedIsNamed) {
  const std::string nowhere = "nothing says where rank 0 is; set MASTER_ADDR and MASTER_PORT on every rank";
  EXPECT_EQ(place_in(kSlurm), nowhere) << "16 processes, of which nothing says that they share a machine";
  EXPECT_EQ(place_in(with(kMpirun, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}})), nowhere);
  EXPECT_EQ(place_in({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "n"}}),
            "MASTER_ADDR is set and MASTER_PORT is not; give both");
  EXPECT_EQ(place_in({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"NCCL_COMM_ID", "here"}}),
            "NCCL_COMM_ID is 'here'; give host:port");
  EXPECT_EQ(place_in(with(kTorchrun, {{"RANK", "8"}})), "RANK is '8'; give a whole number from 0 to 7");
  EXPECT_EQ(place_in(with(kTorchrun, {{"WORLD_SIZE", "2x"}})),
            "WORLD_SIZE is '2x'; give a whole number from 1 to 1048576");
  EXPECT_EQ(place_in(with(kTorchrun, {{"MASTER_PORT", "0"}})),
            "MASTER_PORT is '0'; give a whole number from 1 to 65534");
}

}  // namespace
}  // namespace ringproof
