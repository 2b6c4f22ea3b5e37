// Each thread takes every grid-th input. The worst error and its input go into one word, error above, so that atomicMax
// keeps both.

#include "gpu/conformance/exp2_sweep.h"

#include <bit>
#include <cmath>
#include <cstdint>

#include "gpu/simt/ptx.h"
#include "gpu/simt/simt.h"

namespace ringproof {
namespace on_cuda {

using namespace simt::api;

struct Exp2Worst {
  unsigned long long error_and_input;  ///< bits of the error in ulp (fp32), bits of the input
  unsigned long long special_wrong;    ///< NaN, infinity, zero or flushed results that are something else
};

__global__ void sweep(Exp2Worst* worst) {
  constexpr float kSmallestNormal = 0x1p-126f;
  const unsigned long long step = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
  unsigned long long own_worst = 0, own_wrong = 0;
  for (unsigned long long i = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < (1ull << 32);
       i += step) {
    float x = __uint_as_float(static_cast<unsigned>(i));
    const float y = exp2_approx(x);
    if (isnan(x)) {
      own_wrong += !isnan(y);
      continue;
    }
    if (fabsf(x) < kSmallestNormal) x = 0.0f;
    const double want = exp2(static_cast<double>(x));
    if (want >= 0x1p128) {
      own_wrong += y != INFINITY;
    } else if (want < 0x1p-126) {  // flushed; what rounds up to the smallest normal number may be that
      own_wrong += y != 0.0f && y != kSmallestNormal;
    } else if (!isfinite(y)) {
      own_wrong += 1;
    } else {
      const double ulp = ldexp(1.0, ilogb(want) - 23);
      const float error = static_cast<float>(fabs(static_cast<double>(y) - want) / ulp);
      const unsigned long long both = static_cast<unsigned long long>(__float_as_uint(error)) << 32 | i;
      own_worst = max(own_worst, both);
    }
  }
  atomicMax(&worst->error_and_input, own_worst);
  atomicAdd(&worst->special_wrong, own_wrong);
}

}  // namespace on_cuda

Finding sweep_exp2() {
  using simt::cuda::check;
  constexpr double kUlpMax = 2;  // what gpu/simt/ptx.h promises
  on_cuda::Exp2Worst* device = nullptr;
  check(cudaMalloc(&device, sizeof(on_cuda::Exp2Worst)), "cudaMalloc");
  check(cudaMemset(device, 0, sizeof(on_cuda::Exp2Worst)), "cudaMemset");
  simt::cuda::launch(on_cuda::sweep, dim3(132 * 16), dim3(256), 0, nullptr, device);
  on_cuda::Exp2Worst worst{};
  const cudaError_t status = cudaMemcpy(&worst, device, sizeof(worst), cudaMemcpyDeviceToHost);
  cudaFree(device);
  check(status, "the sweep of exp2_approx");
  const double error = std::bit_cast<float>(static_cast<std::uint32_t>(worst.error_and_input >> 32));
  const float input = std::bit_cast<float>(static_cast<std::uint32_t>(worst.error_and_input));
  const double wrong = static_cast<double>(worst.special_wrong);
  return {"ex2.approx on all 2^32 inputs",
          error <= kUlpMax && worst.special_wrong == 0,
          "worst error " + std::to_string(error) + " ulp at x = " + std::to_string(input) + ", " +
              std::to_string(worst.special_wrong) + " special results wrong",
          {{"worst_error_ulp", error}, {"worst_input", input}, {"special_results_wrong", wrong}}};
}

}  // namespace ringproof
