// A stream is a list of functions; waiting for it is calling them. A graph is such a list that can be called again.
// Everything else follows: what a copy reads is what its source holds when its turn comes.

#include "gpu/stand_in/cuda_runtime.h"

#include <cuda.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "reference/spec/error.h"

// What CUDA calls by pointer to an undefined type is defined here.
using Work = std::function<void()>;
struct CUgraph_st {
  std::vector<Work> nodes;
};
struct CUgraphExec_st {
  std::vector<Work> nodes;
};
struct CUstream_st {
  bool is_blocking = true;
  std::deque<Work> queue;
  CUgraph_st* captured = nullptr;  ///< what it is given goes here instead, while a capture lasts
};
struct CUkern_st {
  std::string name;
  std::size_t smem_bytes_asked = 48 * 1024;
};

namespace ringproof::stand_in {
namespace {

struct State {
  std::vector<CUstream_st*> streams;
  std::map<const void*, CUkern_st> kernels;  // by the address of the host stub
  std::vector<KernelLaunch> launches;
  std::map<void*, std::size_t> memory;  // what is allocated
  std::map<void*, std::size_t> mapped;  // reserved addresses
  std::map<std::string, cudaError_t> failing;
  cudaError_t last_error = cudaSuccess;
  struct {
    dim3 grid, block;
    std::size_t smem_bytes;
    cudaStream_t stream;
  } pushed{};
};

// Kernels register themselves before main; made on first use.
State& state() {
  static State* const made = new State;
  return *made;
}

cudaError_t done(const char* call, cudaError_t status = cudaSuccess) {
  const auto set = state().failing.find(call);
  if (set != state().failing.end() && set->second != cudaSuccess) status = set->second;
  if (status != cudaSuccess) state().last_error = status;
  return status;
}

void drain(CUstream_st* stream) {
  while (!stream->queue.empty()) {
    const Work next = std::move(stream->queue.front());
    stream->queue.pop_front();
    next();
  }
}

bool is_capturing() {
  const auto& streams = state().streams;
  return std::any_of(streams.begin(), streams.end(), [](const CUstream_st* s) { return s->captured != nullptr; });
}

// The legacy default stream waits for the blocking ones and then works at once.
cudaError_t enqueue(const char* call, cudaStream_t stream, Work work) {
  if (stream == nullptr) {
    if (is_capturing()) return done(call, cudaErrorStreamCaptureImplicit);
    for (CUstream_st* other : state().streams) {
      if (other->is_blocking) drain(other);
    }
    work();
  } else if (stream->captured != nullptr) {
    stream->captured->nodes.push_back(std::move(work));
  } else {
    stream->queue.push_back(std::move(work));
  }
  return done(call);
}

// cuMem...: addresses first, memory for parts of them later. One allocation is its size in disguise.
constexpr std::size_t kGranularityBytes = std::size_t{2} << 20;

CUresult granularity(std::size_t* bytes, const CUmemAllocationProp*, CUmemAllocationGranularity_flags) {
  *bytes = kGranularityBytes;
  return CUDA_SUCCESS;
}
CUresult reserve(CUdeviceptr* address, std::size_t bytes, std::size_t, CUdeviceptr, unsigned long long) {
  // The kernel gives pages; a device gives 2 MiB at least.
  const std::size_t asked = bytes + kGranularityBytes;
  void* const at = mmap(nullptr, asked, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  state().mapped[at] = asked;
  const auto begin = reinterpret_cast<std::uintptr_t>(at);
  *address = (begin + kGranularityBytes - 1) / kGranularityBytes * kGranularityBytes;
  return CUDA_SUCCESS;
}
CUresult create(CUmemGenericAllocationHandle* handle, std::size_t bytes, const CUmemAllocationProp*,
                unsigned long long) {
  if (bytes % kGranularityBytes != 0) return CUDA_ERROR_INVALID_VALUE;
  *handle = bytes;
  return CUDA_SUCCESS;
}
CUresult map(CUdeviceptr, std::size_t bytes, std::size_t, CUmemGenericAllocationHandle handle, unsigned long long) {
  return bytes == handle ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult set_access(CUdeviceptr address, std::size_t bytes, const CUmemAccessDesc*, std::size_t) {
  return mprotect(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE) == 0 ? CUDA_SUCCESS
                                                                                        : CUDA_ERROR_INVALID_VALUE;
}
CUresult unmap(CUdeviceptr, std::size_t) { return CUDA_SUCCESS; }
CUresult release(CUmemGenericAllocationHandle) { return CUDA_SUCCESS; }
CUresult free_addresses(CUdeviceptr address, std::size_t) {
  auto found = state().mapped.upper_bound(reinterpret_cast<void*>(address));
  if (found == state().mapped.begin()) return CUDA_ERROR_INVALID_VALUE;
  --found;
  munmap(found->first, found->second);
  state().mapped.erase(found);
  return CUDA_SUCCESS;
}

void* driver_function(const std::string& name) {
  static const std::map<std::string, void*> kFunctions{
      {"cuMemGetAllocationGranularity", reinterpret_cast<void*>(granularity)},
      {"cuMemAddressReserve", reinterpret_cast<void*>(reserve)},
      {"cuMemCreate", reinterpret_cast<void*>(create)},
      {"cuMemMap", reinterpret_cast<void*>(map)},
      {"cuMemSetAccess", reinterpret_cast<void*>(set_access)},
      {"cuMemUnmap", reinterpret_cast<void*>(unmap)},
      {"cuMemRelease", reinterpret_cast<void*>(release)},
      {"cuMemAddressFree", reinterpret_cast<void*>(free_addresses)}};
  const auto found = kFunctions.find(name);
  return found == kFunctions.end() ? nullptr : found->second;
}

}  // namespace

std::vector<KernelLaunch> take_launches() { return std::exchange(state().launches, {}); }

std::size_t bytes_allocated() {
  std::size_t sum = 0;
  for (const auto& [at, bytes] : state().memory) sum += bytes;
  for (const auto& [at, bytes] : state().mapped) sum += bytes;
  return sum;
}

void fail(const std::string& call, cudaError_t status) { state().failing[call] = status; }

}  // namespace ringproof::stand_in

using ringproof::stand_in::done;
using ringproof::stand_in::drain;
using ringproof::stand_in::enqueue;
using ringproof::stand_in::state;

extern "C" {

// What nvcc's own code calls.
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, std::size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* stub, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  state().kernels[stub].name = name;
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t smem_bytes, CUstream_st* stream) {
  state().pushed = {grid, block, smem_bytes, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* smem_bytes, void* stream) {
  const auto& pushed = state().pushed;
  *grid = pushed.grid;
  *block = pushed.block;
  *smem_bytes = pushed.smem_bytes;
  *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  const auto found = state().kernels.find(stub);
  if (found == state().kernels.end()) return cudaErrorInvalidDeviceFunction;
  *kernel = &found->second;
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void**, std::size_t smem_bytes,
                               cudaStream_t stream) {
  state().launches.push_back({kernel->name, grid, block, smem_bytes, kernel->smem_bytes_asked, stream});
  constexpr unsigned kYMax = 65535, kThreadsMax = 1024;
  const bool fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 2147483647u && grid.y <= kYMax &&
                    grid.z <= kYMax && block.x * block.y * block.z > 0 && block.x * block.y * block.z <= kThreadsMax &&
                    smem_bytes <= kernel->smem_bytes_asked;
  if (!fits) return done("cudaLaunchKernel", cudaErrorInvalidConfiguration);
  return enqueue("cudaLaunchKernel", stream, [] {});
}

}  // extern "C"

// CUDA's own names; who calls them is checked by the compiler against CUDA's header.

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return done("cudaGetDeviceCount");
}
cudaError_t cudaSetDevice(int device) {
  return done("cudaSetDevice", device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "stand-in");
  return done("cudaGetDeviceProperties");
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  static const std::map<cudaDeviceAttr, int> kH100{
      {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrComputeCapabilityMinor, 0},
      {cudaDevAttrMultiProcessorCount, 132},  {cudaDevAttrClockRate, 1830000},
      {cudaDevAttrL2CacheSize, 50 << 20},     {cudaDevAttrMaxPersistingL2CacheSize, 30 << 20}};
  const auto found = kH100.find(which);
  if (found == kH100.end()) return done("cudaDeviceGetAttribute", cudaErrorInvalidValue);
  *value = found->second;
  return done("cudaDeviceGetAttribute");
}
cudaError_t cudaDeviceSetLimit(cudaLimit limit, std::size_t bytes) {
  const bool is_known = limit == cudaLimitPersistingL2CacheSize && bytes == 0;
  return done("cudaDeviceSetLimit", is_known ? cudaSuccess : cudaErrorUnsupportedLimit);
}
cudaError_t cudaDeviceGetPCIBusId(char* place, int bytes, int) {
  std::snprintf(place, static_cast<std::size_t>(bytes), "0000:01:00.0");
  return done("cudaDeviceGetPCIBusId");
}
cudaError_t cudaGetLastError() { return std::exchange(state().last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return state().last_error; }
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : "an error set by a test";
}
const char* cudaGetErrorName(cudaError_t status) { return cudaGetErrorString(status); }
cudaError_t cudaFuncSetAttribute(const void* stub, cudaFuncAttribute attribute, int value) {
  constexpr int kHopperBytesMax = 227 * 1024;
  const auto found = state().kernels.find(stub);
  if (found == state().kernels.end()) return done("cudaFuncSetAttribute", cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value > kHopperBytesMax) return done("cudaFuncSetAttribute", cudaErrorInvalidValue);
    found->second.smem_bytes_asked = static_cast<std::size_t>(value);
  }
  return done("cudaFuncSetAttribute");
}

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  *address = nullptr;
  if (ringproof::stand_in::is_capturing()) return done("cudaMalloc", cudaErrorStreamCaptureUnsupported);
  const cudaError_t status = done("cudaMalloc");
  if (status != cudaSuccess || bytes == 0) return status;
  constexpr std::size_t kAlignment = 512;
  *address = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  state().memory[*address] = bytes;
  return status;
}
cudaError_t cudaFree(void* address) {
  if (address == nullptr) return done("cudaFree");
  if (state().memory.erase(address) == 0) return done("cudaFree", cudaErrorInvalidValue);
  std::free(address);
  return done("cudaFree");
}
cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  *address = std::calloc(1, bytes);
  return done("cudaHostAlloc");
}
cudaError_t cudaFreeHost(void* address) {
  std::free(address);
  return done("cudaFreeHost");
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind == cudaMemcpyHostToDevice) {  // pageable memory is read before the call returns
    std::vector<std::byte> staged(static_cast<const std::byte*>(from), static_cast<const std::byte*>(from) + bytes);
    return enqueue("cudaMemcpyAsync", stream, [to, staged] { std::memcpy(to, staged.data(), staged.size()); });
  }
  const cudaError_t status = enqueue("cudaMemcpyAsync", stream, [=] { std::memcpy(to, from, bytes); });
  if (kind == cudaMemcpyDeviceToHost && stream != nullptr && stream->captured == nullptr) drain(stream);
  return status;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  return enqueue("cudaMemcpy", nullptr, [=] { std::memcpy(to, from, bytes); });
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return enqueue("cudaMemsetAsync", stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return enqueue("cudaMemset", nullptr, [=] { std::memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = new CUstream_st{flags != cudaStreamNonBlocking, {}, nullptr};
  state().streams.push_back(*stream);
  return done("cudaStreamCreateWithFlags");
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain(stream);
  std::erase(state().streams, stream);
  delete stream;
  return done("cudaStreamDestroy");
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr && stream->captured != nullptr)
    return done("cudaStreamSynchronize", cudaErrorStreamCaptureUnsupported);
  if (stream != nullptr) drain(stream);
  return done("cudaStreamSynchronize");
}
cudaError_t cudaDeviceSynchronize() {
  for (CUstream_st* stream : state().streams) drain(stream);
  return done("cudaDeviceSynchronize");
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return enqueue("cudaLaunchHostFunc", stream, [=] { function(data); });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->captured = new CUgraph_st;
  return done("cudaStreamBeginCapture");
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->captured, nullptr);
  return done("cudaStreamEndCapture");
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
  *ready = new CUgraphExec_st{graph->nodes};
  return done("cudaGraphInstantiate");
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream) {
  cudaError_t status = done("cudaGraphLaunch");
  for (const Work& node : ready->nodes) {
    if (status == cudaSuccess) status = enqueue("cudaGraphLaunch", stream, node);
  }
  return status;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return done("cudaGraphDestroy");
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready) {
  delete ready;
  return done("cudaGraphExecDestroy");
}

// An event remembers when its turn came.
struct CUevent_st {
  std::chrono::steady_clock::time_point at{};
};
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return done("cudaEventCreate");
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return done("cudaEventDestroy");
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return enqueue("cudaEventRecord", stream, [event] { event->at = std::chrono::steady_clock::now(); });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  for (CUstream_st* stream : state().streams) drain(stream);
  return done("cudaEventSynchronize");
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = std::chrono::duration<float, std::milli>(end->at - begin->at).count();
  return done("cudaEventElapsedTime");
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  *function = ringproof::stand_in::driver_function(name);
  if (found != nullptr) *found = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return done("cudaGetDriverEntryPointByVersion");
}
