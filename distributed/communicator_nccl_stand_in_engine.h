#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "distributed/communicator_nccl_stand_in.h"

/// What the stand-in keeps, and what executes it. Its functions take the lock of the state; those declared below need
/// it.
namespace ringproof::stand_in {
using VectorClock = std::vector<std::int64_t>;

// A stream or a thread: something whose steps are in order.
struct Lane {
  int index = 0;
  std::string name;
  VectorClock clock;

  void tick() {
    if (clock.size() <= static_cast<std::size_t>(index)) clock.resize(static_cast<std::size_t>(index) + 1);
    ++clock[static_cast<std::size_t>(index)];
  }
};

struct Recorded {
  bool has_happened = false;
  VectorClock clock;
};

struct Transfer {
  bool is_send;
  int peer;
  std::byte* bytes;
  std::size_t count;
  bool is_done = false;
  VectorClock clock{};              // of a send, when it began
  std::vector<std::byte> copied{};  // of a send that ended early
};

struct Group {
  ncclComm* comm = nullptr;
  std::vector<std::shared_ptr<Transfer>> transfers;
  bool has_begun = false;
  std::shared_ptr<Lane> apart{};  ///< set: nobody has followed it to its stream, so nothing there comes after it
};

struct Operation {
  VectorClock posted;
  std::function<void()> task{};
  std::shared_ptr<Recorded> records{}, waits_for{};
  std::shared_ptr<Group> group{};
  bool counts = true;  ///< false: what it waits for or records is not taken into clocks
};

struct Access {
  std::uintptr_t begin, end;
  int lane;
  std::int64_t at;
  bool is_write;
  std::string words;
};

struct Route {
  std::deque<std::shared_ptr<Transfer>> sends, receives;
};

struct Job {
  int rank_count = 0;
  std::set<int> come;
  std::map<std::pair<int, int>, Route> routes;
};

}  // namespace ringproof::stand_in

// What CUDA and NCCL call by pointer to an undefined type is defined here.
struct CUstream_st {
  ringproof::stand_in::Lane lane;
  std::deque<ringproof::stand_in::Operation> queue;
  std::uint64_t weight = 0;
  bool is_running = false;  // its first operation, outside the lock
};
struct CUevent_st {
  std::shared_ptr<ringproof::stand_in::Recorded> latest;
};
struct ncclComm {
  std::shared_ptr<ringproof::stand_in::Job> job;
  int rank = 0;
  bool is_aborted = false;
  struct Launch {
    std::shared_ptr<ringproof::stand_in::Group> group;
    cudaStream_t stream;
    ringproof::stand_in::VectorClock posted;
    int delay;
  };
  std::deque<Launch> launches;  // groups that are not on their stream yet
};

namespace ringproof::stand_in {
struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::mt19937_64 random{1};
  std::int64_t demand = 0;  // questions asked and not yet answered by an execution
  std::vector<CUstream_st*> streams;
  std::vector<ncclComm*> comms;
  std::map<std::string, std::shared_ptr<Job>> jobs;
  std::map<int, Lane> ranks;
  std::map<int, int> streams_made;
  int lanes = 0, ids = 0;
  std::int64_t things = 0;
  std::map<std::uintptr_t, std::pair<std::uintptr_t, std::string>> buffers;  // begin: end, name
  std::map<int, int> buffers_made;
  std::vector<Access> accesses;
  std::vector<std::string> races;
  std::vector<Site> sites;
  std::set<Site> dropped;
  std::set<std::string> failing;
  std::map<int, ncclResult_t> async_errors;
  bool aborts_hang = false, is_gpu_shared = false;
};

State& state();

/// The rank whose thread calls.
int& rank_of_thread();
Lane& lane_of_thread();
void join(VectorClock& mine, const VectorClock& other);

/// Puts an operation on a stream, with the clock of the calling thread.
void queue(cudaStream_t stream, Operation operation);
/// The clock for what the calling thread queues now.
VectorClock posted_now();
void set_apart(Group& group);
/// Somebody asks whether something has ended: the only time when anything is executed.
void ask();
/// Starts the thread that executes, once.
void require_execution();

}  // namespace ringproof::stand_in
