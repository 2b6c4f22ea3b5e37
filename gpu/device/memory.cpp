// Strides beyond 2^31 elements spread a small tensor over terabytes. CUDA's virtual memory functions give the addresses
// and put memory under some of them; they belong to the driver, which is looked up when it is first needed, so that the
// program starts on a machine without one.

#include "gpu/device/memory.h"

#include <cuda.h>

#include <algorithm>
#include <string>

#include "gpu/simt/cuda_check.h"

namespace ringproof {
namespace {

using simt::cuda::check;

void check_driver(CUresult status, const char* call) {
  if (status != CUDA_SUCCESS) throw Error(std::string(call) + " failed with CUresult " + std::to_string(status));
}

constexpr unsigned kCudaVersion = 12000;  // whose form of the functions is asked for

/// Calls a function of the driver by its name, with the type it has there.
template <class Function, class... Args>
CUresult call_driver(const char* name, Args... args) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(cudaGetDriverEntryPointByVersion(name, &address, kCudaVersion, cudaEnableDefault, &found), name);
  if (address == nullptr) throw Error(std::string("the CUDA driver has no ") + name);
  return reinterpret_cast<Function*>(address)(args...);
}

CUmemAllocationProp on_device_0() {
  CUmemAllocationProp kind{};
  kind.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  kind.location = {CU_MEM_LOCATION_TYPE_DEVICE, {0}};
  return kind;
}

}  // namespace

void DeviceMemory::reserve(std::int64_t bytes, const std::vector<Stretch>& stretches) {
  if (stretches.size() == 1 && !is_sparse_ && bytes <= bytes_) return;
  free();
  if (stretches.size() > 1) return reserve_sparse(bytes, stretches);
  void* address = nullptr;
  check(cudaMalloc(&address, static_cast<std::size_t>(bytes)), "cudaMalloc");
  data_ = static_cast<std::byte*>(address);
  bytes_ = bytes;
}

void DeviceMemory::reserve_sparse(std::int64_t bytes, const std::vector<Stretch>& stretches) {
  const CUmemAllocationProp kind = on_device_0();
  std::size_t grain = 0;
  check_driver(call_driver<decltype(cuMemGetAllocationGranularity)>("cuMemGetAllocationGranularity", &grain, &kind,
                                                                    CU_MEM_ALLOC_GRANULARITY_MINIMUM),
               "cuMemGetAllocationGranularity");
  const auto size = static_cast<std::int64_t>(grain);
  const auto whole = [size](std::int64_t n) { return (n + size - 1) / size * size; };

  CUdeviceptr start = 0;
  check_driver(
      call_driver<decltype(cuMemAddressReserve)>("cuMemAddressReserve", &start, static_cast<std::size_t>(whole(bytes)),
                                                 std::size_t{0}, CUdeviceptr{0}, 0ull),
      "cuMemAddressReserve");
  data_ = reinterpret_cast<std::byte*>(start);
  bytes_ = whole(bytes);
  is_sparse_ = true;
  for (const Stretch& stretch : stretches) {
    const std::int64_t free_from = mapped_.empty() ? 0 : mapped_.back().begin + mapped_.back().bytes;
    const std::int64_t begin = std::max(stretch.begin / size * size, free_from);
    const std::int64_t end = whole(stretch.begin + stretch.bytes);
    if (end <= begin) continue;
    const auto count = static_cast<std::size_t>(end - begin);
    const CUdeviceptr at = start + static_cast<CUdeviceptr>(begin);
    CUmemGenericAllocationHandle memory{};
    check_driver(call_driver<decltype(cuMemCreate)>("cuMemCreate", &memory, count, &kind, 0ull), "cuMemCreate");
    const CUresult mapped = call_driver<decltype(cuMemMap)>("cuMemMap", at, count, std::size_t{0}, memory, 0ull);
    call_driver<decltype(cuMemRelease)>("cuMemRelease", memory);  // lives on while it is mapped
    check_driver(mapped, "cuMemMap");
    mapped_.push_back({begin, end - begin});
    const CUmemAccessDesc access{kind.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    check_driver(call_driver<decltype(cuMemSetAccess)>("cuMemSetAccess", at, count, &access, std::size_t{1}),
                 "cuMemSetAccess");
  }
}

// What cannot be given back on the way out is left to the end of the process.
void DeviceMemory::free() {
  if (data_ == nullptr) return;
  if (!is_sparse_) {
    cudaFree(data_);
  } else {
    const auto start = reinterpret_cast<CUdeviceptr>(data_);
    try {
      for (const Stretch& piece : mapped_) {
        call_driver<decltype(cuMemUnmap)>("cuMemUnmap", start + static_cast<CUdeviceptr>(piece.begin),
                                          static_cast<std::size_t>(piece.bytes));
      }
      call_driver<decltype(cuMemAddressFree)>("cuMemAddressFree", start, static_cast<std::size_t>(bytes_));
    } catch (const Error&) {
    }
  }
  data_ = nullptr;
  bytes_ = 0;
  is_sparse_ = false;
  mapped_.clear();
}

}  // namespace ringproof
