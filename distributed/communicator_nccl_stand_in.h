#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

/// A stand-in for the functions of the CUDA runtime and of NCCL that communicator_nccl calls, for tests on a machine
/// without a GPU: a program that links it runs that source, with all ranks as threads of one process and host memory as
/// the memory of their devices.
///
/// Streams, events and groups of sends and receives are queued. One thread executes what is queued, one piece at a time
/// in random orders that CUDA and NCCL allow, drawn from a seed, and only when somebody asks whether something has
/// ended; so whoever relies on work he has not waited for sees it missing. An NCCL group is given to its stream some
/// time after ncclGroupEnd has said "in progress". A short send may end before anybody receives it.
///
/// Beside that it keeps what happens before what (a vector clock per stream and per thread of a rank) and names every
/// two accesses to the same memory, one of them a write, that nothing orders.
namespace ringproof::stand_in {

/// Begins anew: forgets races, sites, faults and names. Nothing may be queued.
void reset(std::uint64_t seed);

/// The calling thread is this rank from now on. Before any other call of the rank.
void enter_rank(int rank);

/// What the running host function does with memory, or, outside one, the calling thread.
void reads(std::span<const std::byte> bytes, const std::string& who);
void writes(std::span<const std::byte> bytes, const std::string& who);

/// Gives a stream (a cudaStream_t) what stands for a kernel.
void enqueue(void* stream, std::function<void()> kernel);

/// Whether it lies in memory that CUDA has allocated and not freed.
bool is_allocated(const void* address);

/// What races call this memory, until it is named anew.
void name_buffer(std::span<const std::byte> memory, const std::string& name);

/// Pairs of accesses that nothing orders, a sentence each, with ranks, streams and buffers; each once.
std::vector<std::string> races();

/// A place in the program that calls a function which orders work, or waits for it.
struct Site {
  std::string function;
  const void* caller = nullptr;
  auto operator<=>(const Site&) const = default;
};
/// Those that were called since reset(), in order of first call.
std::vector<Site> ordering_sites();
/// From now on calls from there order nothing, as far as races are concerned; the execution keeps their order, so that
/// a test of a wrong program stays whole. One that follows an NCCL group to its stream: nothing comes after that group.
void drop(const Site& site);

/// Faults. A rank's asynchronous error (an ncclResult_t), an abort that does not return, a call that fails
/// ("cudaEventRecord").
void set_async_error(int rank, int result);
void make_aborts_hang();
void fail(const std::string& call, bool fails);
/// All ranks on one pretended GPU, instead of one each.
void share_gpu(bool shared);

/// What has been made and not been destroyed: streams, events, communicators, allocations.
std::int64_t things_alive();

}  // namespace ringproof::stand_in
