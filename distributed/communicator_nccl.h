#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/process_job.h"

namespace ringproof {

/// This process's place in a job over NCCL.
struct NcclPlace {
  int rank, rank_count;
  int device;                ///< of this process, as CUDA counts
  std::vector<int> sockets;  ///< of connect_ranks(); taken over
  std::chrono::milliseconds deadline;
  /// What happens when NCCL cannot be stopped any more: told where this rank stands, does not return. Null: the words
  /// go to stderr and the process exits with code 3 at once.
  std::function<void(const std::string&)> on_stuck;
};

/// This process's place in a job whose ranks exchange through NCCL: grouped sends and receives on a stream of their
/// own, computations on another, events between the two. One per process, used by the thread that made it.
///
/// allocate() gives managed memory, which host and device both reach, so that a computation may run on either: one that
/// `enqueues` is given the stream, any other runs as a host function in the order of the stream. Headers go beside the
/// data, over the sockets, and are compared before an exchange is said to have happened. Exchanges of a rank happen in
/// the order posted (one stream): two ranks that post the two directions of their traffic in opposite orders wait for
/// each other until the deadline. What a rank sends to itself it receives in the same exchange.
///
/// What happens when a rank fails: it tells all others, whose present or next call throws; a watchdog aborts NCCL on
/// every rank, and nothing of the job is used again. The watchdog also asks for errors that NCCL meets by itself, and
/// ends calls that do not return: an abort that takes longer than the deadline ends the process.
class NcclJob {
 public:
  /// Collective. Throws InputError where two ranks share a GPU without permission (NCCL_HOSTID of their own, or
  /// NCCL_MULTI_RANK_GPU_ENABLE), Error where CUDA, NCCL or another rank fails, or does not come within the deadline.
  explicit NcclJob(NcclPlace place);
  ~NcclJob();
  NcclJob(const NcclJob&) = delete;
  NcclJob& operator=(const NcclJob&) = delete;

  /// As in MpiJob.
  Communicator& world();
  void run(const std::function<void(Communicator&)>& body);
  void send(int rank, std::span<const std::byte> bytes);
  std::vector<std::byte> receive(int rank, bool is_patient);
  void fail(const std::string& sentence);
  /// What failed first, as far as this rank knows; empty while nothing has.
  std::string failure() const;

 private:
  class World;
  std::unique_ptr<World> world_;
};

/// `job`, which outlives it, as a judge uses it. Its processes wait for their next call until they hear of its end:
/// a process 0 that stops, and does not end, keeps them.
ProcessJob process_job(NcclJob& job);

}  // namespace ringproof
