// The same source on both sides differs where the hardware does: fused multiply-adds, exponentials, the sums of tensor
// cores. What is left after those is a fault of the emulation or of the kernel.

#include "gpu/conformance/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gpu/device/run.h"
#include "gpu/flash_problem.h"
#include "gpu/kernels.h"
#include "gpu/simt/runtime.h"
#include "reference/spec/case.h"
#include "reference/spec/inputs.h"

namespace ringproof {
namespace {

struct Outputs {
  Tensor out, lse;
  explicit Outputs(const Problem& p)
      : out(dtype_of_out(p.dtype), p.shape_out()), lse(dtype_of_lse(p.dtype), p.shape_lse()) {}
};

struct Difference {
  std::int64_t elements = 0, equal = 0, kind = 0;  ///< kind: NaN or infinity on one side only
  double largest = 0;
};

void add(const Tensor& one, const Tensor& other, Difference& sum) {
  const std::size_t size = size_bytes(one.dtype());
  for (std::size_t at = 0; at < one.bytes().size(); at += size) {
    ++sum.elements;
    if (std::memcmp(one.bytes().data() + at, other.bytes().data() + at, size) == 0) {
      ++sum.equal;
      continue;
    }
    const double a = load(one.bytes().data() + at, one.dtype()), b = load(other.bytes().data() + at, other.dtype());
    if (std::isnan(a) && std::isnan(b)) {
      ++sum.equal;
    } else if (!std::isfinite(a) || !std::isfinite(b)) {
      ++sum.kind;
    } else {
      sum.largest = std::max(sum.largest, std::fabs(a - b));
    }
  }
}

FlashParams params_of(const Problem& problem, const Inputs& inputs, const Outputs& outputs) {
  const TensorView lse = outputs.lse.view();
  return make_flash_params(problem, inputs.q.view(), inputs.k.view(), inputs.v.view(), outputs.out.view(), &lse);
}

}  // namespace

std::vector<Finding> compare_kernels(const std::vector<std::string>& lines) {
  std::vector<Finding> findings;
  for (const FlashKernel& kernel : flash_kernels()) {
    Difference sum;
    int cases = 0;
    std::string faults;
    DeviceRunner runner;
    for (const std::string& line : lines) {
      Case c = parse_case(line);
      c.problem.dtype = kernel.dtype;
      if (!unsupported_reason(kernel.describe(), c.problem).empty()) continue;
      const Inputs inputs = make_inputs(c.problem, c.inputs, c.memory);
      const Outputs host(c.problem), device(c.problem);
      FlashParams params = params_of(c.problem, inputs, host);
      std::vector<std::byte> workspace;
      if (kernel.workspace_bytes != nullptr) {
        workspace.resize(static_cast<std::size_t>(kernel.workspace_bytes(params)));
        params.workspace = workspace.data();
      }
      simt::host::LaunchOptions options;
      options.mma = simt::host::MmaNumerics::kHopper;
      kernel.on_host(params, &options);
      for (const std::string& fault : runner.run(kernel, params_of(c.problem, inputs, device))) {
        if (faults.empty()) faults = fault + " on '" + to_string(c) + "'";
      }
      add(host.out, device.out, sum);
      add(host.lse, device.lse, sum);
      ++cases;
    }
    const std::string text = std::to_string(sum.equal) + " of " + std::to_string(sum.elements) +
                             " elements equal, largest difference " + std::to_string(sum.largest) + ", " +
                             std::to_string(sum.kind) + " NaN or infinite on one side only" +
                             (faults.empty() ? "" : "; " + faults);
    findings.push_back({kernel.name,
                        cases > 0 && sum.kind == 0 && faults.empty(),
                        text,
                        {{"cases", cases},
                         {"elements", static_cast<double>(sum.elements)},
                         {"elements_equal", static_cast<double>(sum.equal)},
                         {"largest_difference", sum.largest}}});
  }
  return findings;
}

}  // namespace ringproof
