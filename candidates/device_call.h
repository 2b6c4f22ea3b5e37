#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "candidates/mapped_regions.h"
#include "candidates/messages.h"

namespace ringproof {

/// Tensors of calls in the memory of CUDA device 0, for plug-ins that want them there. What surrounds a tensor in its
/// region comes along: strides, aliases, misalignment and the NaN pattern of the guard zones are those of the host.
/// Inputs arrive late, by copies on the non-blocking stream that the plug-in is given. Shapes that repeat come to the
/// same addresses. Loads the CUDA driver when it is made; needs nothing of CUDA to be built.
class DeviceCalls {
 public:
  DeviceCalls();
  ~DeviceCalls();
  DeviceCalls(const DeviceCalls&) = delete;
  DeviceCalls& operator=(const DeviceCalls&) = delete;

  /// Why there is no device here, as a clause; empty where there is one.
  const std::string& missing() const { return missing_; }

  /// Sends the tensors of a call on their way. Throws Error naming the CUDA call that failed.
  void begin(const CallQuestion& asked, const MappedRegions& regions);

  /// Where a tensor of the call lies on the device; null for one without elements.
  rp_tensor place(const SentTensor& sent) const;

  /// A CUstream, the same one for all calls.
  void* stream() const { return stream_; }

  /// Waits for the stream and copies outputs and what surrounds them into their regions. Returns what it saw the
  /// plug-in do wrong, a sentence each: inputs changed, outputs changed behind the end of the stream, memory written
  /// behind what ends at a page. Throws Error naming the CUDA call that failed, which is how an access to foreign
  /// memory shows; no later call can succeed then.
  std::vector<std::string> end();

 private:
  struct Driver;
  // The part of a region that a call uses, by region.
  struct Window {
    std::byte* host;
    std::int64_t begin, end;  // bytes of the region
    bool is_output;
    std::string names;
    std::uint64_t device = 0, staged = 0, bytes_held = 0;
  };
  void look_at(const SentTensor& sent, const char* name, bool is_output, const MappedRegions& regions);
  void hold(Window& window);

  std::unique_ptr<Driver> driver_;
  std::string missing_;
  void* stream_ = nullptr;
  std::map<std::uint64_t, Window> windows_;
};

}  // namespace ringproof
