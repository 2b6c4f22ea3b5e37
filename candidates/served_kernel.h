#pragma once

#include <functional>
#include <string>

#include "candidates/candidate_abi.h"
#include "candidates/messages.h"

namespace ringproof {

/// A kernel as a worker calls it: what the functions of the C ABI do. Empty functions where there is none.
struct ServedKernel {
  std::string not_served;  ///< why there is none, one sentence for the user; "" where there is
  std::function<int(rp_description&)> describe;
  std::function<int(const CallQuestion& asked, const rp_tensor& q, const rp_tensor& k, const rp_tensor& v,
                    rp_tensor& out, rp_tensor* lse, void* stream)>
      forward;
  std::function<std::string()> last_error;
  bool has_backward = false;
  bool may_want_device = false;  ///< it can be handed device memory, where it asks for that
};

}  // namespace ringproof
