#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/communicator_nccl.h"
#include "distributed/communicator_nccl_stand_in.h"
#include "reference/spec/error.h"

namespace ringproof {

/// Sockets as connect_ranks() gives them, by rank, without an address.
inline std::vector<std::vector<int>> socket_pairs(int rank_count) {
  std::vector<std::vector<int>> sockets(static_cast<std::size_t>(rank_count));
  sockets.front().assign(static_cast<std::size_t>(rank_count), -1);
  for (std::size_t rank = 1; rank < sockets.size(); ++rank) {
    int ends[2];
    assert_that(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "a test has sockets");
    sockets.front()[rank] = ends[0];
    sockets[rank] = {ends[1]};
  }
  return sockets;
}

/// What each rank's job ended with, by rank; empty for those that ended well.
inline std::vector<std::string> run_on_stand_ins(int rank_count, std::chrono::milliseconds deadline,
                                                 const std::function<void(Communicator&)>& body) {
  const std::vector<std::vector<int>> sockets = socket_pairs(rank_count);
  std::vector<std::string> failures(static_cast<std::size_t>(rank_count));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < rank_count; ++rank) {
    threads.emplace_back([&, rank] {
      stand_in::enter_rank(rank);
      try {
        NcclJob job({rank, rank_count, 0, sockets[static_cast<std::size_t>(rank)], deadline, {}});
        job.run(body);
      } catch (const Error& error) {
        failures[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

/// As a Launcher; every call has another seed.
inline Launcher stand_in_launcher(std::chrono::milliseconds deadline) {
  return [deadline](int rank_count, const std::function<void(Communicator&)>& body) {
    static std::uint64_t seed = 0;
    stand_in::reset(++seed);
    for (const std::string& failure : run_on_stand_ins(rank_count, deadline, body)) {
      if (!failure.empty()) throw Error(failure);
    }
  };
}

}  // namespace ringproof
