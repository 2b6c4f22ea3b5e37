// CUDA's and NCCL's functions, each a line or a few on the engine: what they put where.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "distributed/communicator_nccl_stand_in_engine.h"
#include "reference/spec/error.h"

using namespace ringproof::stand_in;

namespace {

constexpr int kLaunchDelayMax = 4;

thread_local std::vector<std::pair<cudaStream_t, std::pair<ncclComm*, std::shared_ptr<Transfer>>>> group_now;

bool is_failing(const char* call) { return state().failing.contains(call); }

bool is_dropped(const char* function, const void* caller) {
  State& s = state();
  const Site site{function, caller};
  if (std::find(s.sites.begin(), s.sites.end(), site) == s.sites.end()) s.sites.push_back(site);
  return s.dropped.contains(site);
}

std::unique_lock<std::mutex> locked() { return std::unique_lock(state().mutex); }

cudaError_t done(const char* call) { return is_failing(call) ? cudaErrorUnknown : cudaSuccess; }

}  // namespace

// CUDA's own names; who calls them is checked by the compiler against CUDA's header.

cudaError_t cudaGetDeviceCount(int* count) {
  const auto lock = locked();
  *count = 16;
  return done("cudaGetDeviceCount");
}
cudaError_t cudaSetDevice(int) {
  const auto lock = locked();
  return done("cudaSetDevice");
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  const auto lock = locked();
  *value = 1;
  return done("cudaDeviceGetAttribute");
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int count, int) {
  const auto lock = locked();
  std::snprintf(text, static_cast<std::size_t>(count), "0000:%02x:00.0", state().is_gpu_shared ? 0 : rank_of_thread());
  return done("cudaDeviceGetPCIBusId");
}
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : "an error set by a test";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaMallocManaged(void** address, std::size_t bytes, unsigned) {
  const auto lock = locked();
  if (is_failing("cudaMallocManaged")) return cudaErrorUnknown;
  State& s = state();
  *address = std::calloc(1, bytes);
  ++s.things;
  const auto begin = reinterpret_cast<std::uintptr_t>(*address);
  s.buffers[begin] = {begin + bytes, "buffer " + std::to_string(s.buffers_made[rank_of_thread()]++) + " of rank " +
                                         std::to_string(rank_of_thread())};
  return cudaSuccess;
}
cudaError_t cudaFree(void* address) {
  const auto lock = locked();
  state().buffers.erase(reinterpret_cast<std::uintptr_t>(address));
  --state().things;
  std::free(address);
  return done("cudaFree");
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  require_execution();
  const auto lock = locked();
  if (is_failing("cudaStreamCreateWithFlags")) return cudaErrorUnknown;
  State& s = state();
  *stream = new CUstream_st;
  (*stream)->lane = {
      s.lanes++,
      "rank " + std::to_string(rank_of_thread()) + ", stream " + std::to_string(s.streams_made[rank_of_thread()]++),
      {}};
  s.streams.push_back(*stream);
  ++s.things;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const auto lock = locked();
  ringproof::assert_that(stream->queue.empty(), "a stream is idle when it is destroyed");
  std::erase(state().streams, stream);
  delete stream;
  --state().things;
  return done("cudaStreamDestroy");
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const auto lock = locked();
  const bool counts = !is_dropped("cudaStreamQuery", __builtin_return_address(0));
  ask();
  if (!stream->queue.empty()) return cudaErrorNotReady;
  if (counts) join(lane_of_thread().clock, stream->lane.clock);
  return done("cudaStreamQuery");
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const auto lock = locked();
  const bool counts = !is_dropped("cudaStreamWaitEvent", __builtin_return_address(0));
  if (event->latest) {  // one never recorded is no wait at all
    Operation operation;
    operation.waits_for = event->latest;
    operation.counts = counts;
    queue(stream, std::move(operation));
  }
  return done("cudaStreamWaitEvent");
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const auto lock = locked();
  const cudaError_t status = done("cudaLaunchHostFunc");
  if (status != cudaSuccess) return status;
  Operation operation;
  operation.task = [function, data] { function(data); };
  queue(stream, std::move(operation));
  return status;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const auto lock = locked();
  if (is_failing("cudaEventCreateWithFlags")) return cudaErrorUnknown;
  *event = new CUevent_st;
  ++state().things;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const auto lock = locked();
  delete event;
  --state().things;
  return done("cudaEventDestroy");
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const auto lock = locked();
  const cudaError_t status = done("cudaEventRecord");
  Operation operation;
  operation.counts = !is_dropped("cudaEventRecord", __builtin_return_address(0));
  if (status != cudaSuccess) return status;
  operation.records = event->latest = std::make_shared<Recorded>();
  queue(stream, std::move(operation));
  return status;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const auto lock = locked();
  const bool counts = !is_dropped("cudaEventQuery", __builtin_return_address(0));
  ask();
  if (event->latest && !event->latest->has_happened) return cudaErrorNotReady;
  if (event->latest && counts) join(lane_of_thread().clock, event->latest->clock);
  return done("cudaEventQuery");
}

// NCCL's.

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const auto lock = locked();
  *id = {};
  std::snprintf(id->internal, sizeof id->internal, "job %d", state().ids++);
  return is_failing("ncclGetUniqueId") ? ncclSystemError : ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int rank_count, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const auto lock = locked();
  State& s = state();
  ringproof::assert_that(config != nullptr && config->blocking == 0, "the communicator does not block");
  if (is_failing("ncclCommInitRankConfig")) return ncclSystemError;
  std::shared_ptr<Job>& job = s.jobs[id.internal];
  if (!job) job = std::make_shared<Job>();
  job->rank_count = rank_count;
  job->come.insert(rank);
  *comm = new ncclComm{job, rank};
  s.comms.push_back(*comm);
  ++s.things;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
  const auto lock = locked();
  const auto error = state().async_errors.find(comm->rank);
  *result = ncclSuccess;
  if (error != state().async_errors.end()) {
    *result = error->second;
  } else if (static_cast<int>(comm->job->come.size()) < comm->job->rank_count || !comm->launches.empty()) {
    *result = ncclInProgress;
  }
  if (is_dropped("ncclCommGetAsyncError", __builtin_return_address(0))) {
    for (const ncclComm::Launch& launch : comm->launches) set_apart(*launch.group);
  }
  ask();
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSystemError ? "unhandled system error" : "an NCCL error set by a test";
}
const char* ncclGetLastError(ncclComm_t) { return "no words of NCCL's"; }

ncclResult_t ncclGroupStart() {
  ringproof::assert_that(group_now.empty(), "groups are not nested here");
  return ncclSuccess;
}
ncclResult_t post_transfer(bool is_send, void* bytes, std::size_t count, int peer, ncclComm_t comm,
                           cudaStream_t stream) {
  group_now.push_back(
      {stream, {comm, std::make_shared<Transfer>(Transfer{is_send, peer, static_cast<std::byte*>(bytes), count})}});
  const auto lock = locked();
  return is_failing(is_send ? "ncclSend" : "ncclRecv") ? ncclSystemError : ncclSuccess;
}
ncclResult_t ncclSend(const void* bytes, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return post_transfer(true, const_cast<void*>(bytes), count, peer, comm, stream);
}
ncclResult_t ncclRecv(void* bytes, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  return post_transfer(false, bytes, count, peer, comm, stream);
}
ncclResult_t ncclGroupEnd() {
  const auto lock = locked();
  auto transfers = std::exchange(group_now, {});
  if (transfers.empty()) return ncclSuccess;
  auto group = std::make_shared<Group>();
  group->comm = transfers.front().second.first;
  for (auto& one : transfers) group->transfers.push_back(std::move(one.second.second));
  const int delay = 1 + static_cast<int>(state().random() % kLaunchDelayMax);
  group->comm->launches.push_back({group, transfers.front().first, posted_now(), delay});
  return ncclInProgress;
}
ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const auto lock = locked();
  std::erase(state().comms, comm);
  --state().things;
  delete comm;
  return ncclSuccess;
}
// Ends when the comm's groups on streams have; the comm itself is left until then.
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  auto lock = locked();
  State& s = state();
  comm->is_aborted = true;
  comm->launches.clear();
  const auto is_used = [&] {
    ask();
    return s.aborts_hang || std::any_of(s.streams.begin(), s.streams.end(), [&](const CUstream_st* stream) {
             return std::any_of(stream->queue.begin(), stream->queue.end(),
                                [&](const Operation& one) { return one.group && one.group->comm == comm; });
           });
  };
  s.changed.wait(lock, [&] { return !is_used(); });
  std::erase(s.comms, comm);
  --s.things;
  delete comm;
  return ncclSuccess;
}
