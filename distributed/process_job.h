#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "distributed/communicator.h"

namespace ringproof {

/// A job of processes as a judge uses it, whatever its transport: process 0 judges, all compute. Its functions are the
/// members of that name of MpiJob and NcclJob.
struct ProcessJob {
  std::string transport;  ///< "MPI", "NCCL"
  Communicator* world;
  std::function<void(int rank, std::span<const std::byte> bytes)> send;
  std::function<std::vector<std::byte>(int rank)> receive;
  std::function<std::vector<std::byte>(int rank)> receive_next;  ///< from one that may take long over its own work
  std::function<void(std::span<const int> ranks, bool is_watched)> beat;
  std::function<void(const std::function<void()>& task)> on_own_thread;
  std::function<void(const std::string& sentence)> fail;
  std::function<std::string()> failure;
};

}  // namespace ringproof
