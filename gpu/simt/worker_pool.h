#pragma once

#include <functional>

namespace ringproof::simt::host {

/// Calls `work` on the calling thread and, at the same time, on up to `helper_count` threads of a pool that lives as
/// long as the process; returns when all these calls have returned. `work` must not throw and must cope with being
/// called by the caller alone: helpers that are busy elsewhere are not waited for. So callers never wait for each
/// other, and any number of threads may call this at once.
void run_with_helpers(int helper_count, const std::function<void()>& work);

}  // namespace ringproof::simt::host
