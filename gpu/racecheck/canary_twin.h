#pragma once

namespace ringproof::racecheck {

/// Weak, so that no compiler inlines it or makes a version of its own: the program has one copy of it, and without
/// instrumentation nobody would see its loads.
template <class T>
__attribute__((weak)) T value_behind(const T* place) {
  return *place;
}

/// The uninstrumented program's own use of it.
int uninstrumented_value_behind(const int* place);

}  // namespace ringproof::racecheck
