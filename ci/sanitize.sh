#!/usr/bin/env bash
# Nightly: every kernel on the host runtime under AddressSanitizer and UndefinedBehaviorSanitizer (preset "asan", built in
# build/asan), with exact bounds of shared and global memory. The runtime's own tests run under both in ci/test.sh.
# Arguments go to ctest.
source "$(dirname "$0")/setup.sh"
cmake --preset asan >build/asan.log 2>&1 || { tail -n 30 build/asan.log >&2; stop "cmake failed; see build/asan.log"; }
cmake --build build/asan --parallel "${RINGPROOF_JOBS:-$(nproc)}" --target ringproof_gpu_memory_tests ||
  stop "the build failed"
exec ctest --test-dir build/asan --output-on-failure -R '^gpu_memory\.' "$@"
