#pragma once

#include <type_traits>

#include "gpu/simt/site.h"

/// CUDA's atomic functions on the host, for the types CUDA has them for. Atomic across blocks on several OS threads,
/// ordered as little as on a GPU (relaxed). Each returns the value from before. A misaligned address is reported.
///
/// Sums of floating-point numbers depend on the order of threads, as on a GPU.
namespace ringproof::simt::host {

/// int, unsigned, unsigned long long, float, double.
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value, Site site = Site::current());

/// int, unsigned, unsigned long long, float.
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value, Site site = Site::current());

/// int, unsigned, unsigned long long; the same for Min.
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value, Site site = Site::current());
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value, Site site = Site::current());

/// int, unsigned, unsigned long long: stores `value` where `compare` stands.
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value, Site site = Site::current());

}  // namespace ringproof::simt::host
