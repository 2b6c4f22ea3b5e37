// NCCL's functions under their own names, each passing on to the library once it has been found: it has hundreds of
// megabytes and is missing on most machines, so that no program should need it to start.

#include "distributed/communicator_nccl_library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <cstdlib>
#include <vector>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

struct Library {
  void* handle = nullptr;
  std::string missing;  // why; empty when all is there
};

constexpr const char* kFunctions[] = {
    "ncclGetVersion",     "ncclGetUniqueId",  "ncclCommInitRankConfig", "ncclCommGetAsyncError",
    "ncclGetErrorString", "ncclGetLastError", "ncclGroupStart",         "ncclGroupEnd",
    "ncclSend",           "ncclRecv",         "ncclCommFinalize",       "ncclCommDestroy",
    "ncclCommAbort"};

Library find_library() {
  const char* const named = std::getenv(kNcclLibraryVariable);
  std::vector<std::string> places{"libnccl.so.2", RINGPROOF_NCCL_BUILT_WITH};
  if (named != nullptr) places = {named};
  Library library;
  for (const std::string& place : places) {
    if (!place.empty()) library.handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library.handle != nullptr) break;
  }
  if (library.handle == nullptr) {
    library.missing =
        "no NCCL library (" + places.front() + " was not found; install libnccl2 or set " + kNcclLibraryVariable + ")";
    return library;
  }
  for (const char* const function : kFunctions) {
    if (dlsym(library.handle, function) == nullptr) {
      library.missing = std::string("the NCCL library here has no ") + function + "; install a newer one";
    }
  }
  return library;
}

const Library& library() {
  static const Library found = find_library();
  return found;
}

template <class Function>
Function* function(const char* name) {
  if (!library().missing.empty()) throw Error(library().missing);
  return reinterpret_cast<Function*>(dlsym(library().handle, name));
}

}  // namespace

std::string nccl_library_missing_reason() { return library().missing; }

std::string nccl_missing_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    return "no CUDA device (" + std::string(status == cudaSuccess ? "none is visible" : cudaGetErrorString(status)) +
           ")";
  }
  return nccl_library_missing_reason();
}

std::string nccl_version() {
  int version = 0;
  if (!library().missing.empty() || ncclGetVersion(&version) != ncclSuccess) return "none";
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

}  // namespace ringproof

using ringproof::function;

ncclResult_t ncclGetVersion(int* version) { return function<decltype(ncclGetVersion)>("ncclGetVersion")(version); }
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) { return function<decltype(ncclGetUniqueId)>("ncclGetUniqueId")(id); }
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int rank_count, ncclUniqueId id, int rank, ncclConfig_t* config) {
  return function<decltype(ncclCommInitRankConfig)>("ncclCommInitRankConfig")(comm, rank_count, id, rank, config);
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
  return function<decltype(ncclCommGetAsyncError)>("ncclCommGetAsyncError")(comm, result);
}
const char* ncclGetErrorString(ncclResult_t result) {
  return function<decltype(ncclGetErrorString)>("ncclGetErrorString")(result);
}
const char* ncclGetLastError(ncclComm_t comm) { return function<decltype(ncclGetLastError)>("ncclGetLastError")(comm); }
ncclResult_t ncclGroupStart() { return function<decltype(ncclGroupStart)>("ncclGroupStart")(); }
ncclResult_t ncclGroupEnd() { return function<decltype(ncclGroupEnd)>("ncclGroupEnd")(); }
ncclResult_t ncclSend(const void* bytes, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return function<decltype(ncclSend)>("ncclSend")(bytes, count, type, peer, comm, stream);
}
ncclResult_t ncclRecv(void* bytes, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return function<decltype(ncclRecv)>("ncclRecv")(bytes, count, type, peer, comm, stream);
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return function<decltype(ncclCommFinalize)>("ncclCommFinalize")(comm);
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) { return function<decltype(ncclCommDestroy)>("ncclCommDestroy")(comm); }
ncclResult_t ncclCommAbort(ncclComm_t comm) { return function<decltype(ncclCommAbort)>("ncclCommAbort")(comm); }
