#pragma once

#include <functional>
#include <string>

#include "candidates/candidate_abi.h"

namespace ringproof {

/// A kernel as a worker calls it: the functions of the C ABI. `forward` is empty where nothing was loaded.
struct ServedKernel {
  std::string not_served;  ///< why there is none, one sentence for the user; "" where there is
  std::function<int(rp_description&)> describe;
  std::function<int(const rp_problem&, const rp_tensor& q, const rp_tensor& k, const rp_tensor& v, rp_tensor& out,
                    rp_tensor* lse)>
      forward;
  std::function<std::string()> last_error;
  bool has_backward = false;
};

/// The plug-in at `path`, loaded for the rest of the process. What is wrong with it (no such file, no library, a
/// function missing) is in not_served.
ServedKernel load_plugin(const std::string& path);

}  // namespace ringproof
