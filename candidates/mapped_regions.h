#pragma once

#include <cstdint>
#include <vector>

#include "candidates/messages.h"

namespace ringproof {

/// The memory of calls as a worker sees it: each region at one address from the message that maps it to the one that
/// says it is gone. A touch of a region's closed end is noted, and the thread goes on; any other bad access
/// says on the socket where it was, and the process then dies of it. One per process.
class MappedRegions {
 public:
  /// `socket` is where the last word goes.
  explicit MappedRegions(int socket);
  ~MappedRegions();
  MappedRegions(const MappedRegions&) = delete;
  MappedRegions& operator=(const MappedRegions&) = delete;

  /// Forgets and maps what the question says; takes over the descriptors. Throws Error.
  void update(const CallQuestion& question, const std::vector<int>& descriptors);

  /// The tensor with its address filled in. Throws Error where its region is not here.
  rp_tensor place(const SentTensor& sent) const;

  /// Bytes of a region that may be touched. Throws Error where it is not here.
  std::int64_t bytes_open(std::uint64_t region) const;

  /// What was touched behind the open part of regions since the last time; they are closed again.
  std::vector<Touch> take_touched();
};

}  // namespace ringproof
