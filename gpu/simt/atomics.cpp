// Compiled here rather than in the kernel: a kernel instrumented for races must not see the runtime's own accesses.

#include "gpu/simt/atomics.h"

#include <algorithm>
#include <atomic>

#include "gpu/simt/runtime.h"

namespace ringproof::simt::host {
namespace {

/// Replaces the value by change(value) and returns what it was.
template <class T, class Change>
T update(T* address, const Site& site, const Change& change) {
  prepare_atomic(address, sizeof(T), site);
  const std::atomic_ref<T> cell(*address);
  T old = cell.load(std::memory_order_relaxed);
  while (!cell.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
  }
  return old;
}

}  // namespace

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value, Site site) {
  return update(address, site, [value](T old) {
    // Signed sums wrap around, as on a GPU.
    if constexpr (std::is_same_v<T, int>) {
      return static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value));
    } else {
      return old + value;
    }
  });
}

template <class T>
T atomicExch(T* address, std::type_identity_t<T> value, Site site) {
  return update(address, site, [value](T) { return value; });
}

template <class T>
T atomicMax(T* address, std::type_identity_t<T> value, Site site) {
  return update(address, site, [value](T old) { return std::max(old, value); });
}

template <class T>
T atomicMin(T* address, std::type_identity_t<T> value, Site site) {
  return update(address, site, [value](T old) { return std::min(old, value); });
}

template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value, Site site) {
  return update(address, site, [compare, value](T old) { return old == compare ? value : old; });
}

template int atomicAdd(int*, int, Site);
template unsigned atomicAdd(unsigned*, unsigned, Site);
template unsigned long long atomicAdd(unsigned long long*, unsigned long long, Site);
template float atomicAdd(float*, float, Site);
template double atomicAdd(double*, double, Site);
template int atomicExch(int*, int, Site);
template unsigned atomicExch(unsigned*, unsigned, Site);
template unsigned long long atomicExch(unsigned long long*, unsigned long long, Site);
template float atomicExch(float*, float, Site);
template int atomicMax(int*, int, Site);
template unsigned atomicMax(unsigned*, unsigned, Site);
template unsigned long long atomicMax(unsigned long long*, unsigned long long, Site);
template int atomicMin(int*, int, Site);
template unsigned atomicMin(unsigned*, unsigned, Site);
template unsigned long long atomicMin(unsigned long long*, unsigned long long, Site);
template int atomicCAS(int*, int, int, Site);
template unsigned atomicCAS(unsigned*, unsigned, unsigned, Site);
template unsigned long long atomicCAS(unsigned long long*, unsigned long long, unsigned long long, Site);

}  // namespace ringproof::simt::host
