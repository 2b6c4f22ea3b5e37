// Twelve chains hide the latency of a multiply-add; nothing touches memory.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reference/oracle/fast/fma_peak.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include "reference/oracle/fast/fma_peak.h"

#include <hwy/foreach_target.h>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ringproof::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

double multiply_add(std::int64_t count) {
  const hn::ScalableTag<double> tag;
  hn::Vec<hn::ScalableTag<double>> sum[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) sum[i] = hn::Set(tag, i + 1.0);
  const auto x = hn::Set(tag, 0.999), y = hn::Set(tag, 0x1p-10);
  for (std::int64_t k = 0; k < count; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sum[i] = hn::MulAdd(sum[i], x, y);
  }
  for (int i = 1; i < 12; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  volatile double kept = hn::GetLane(sum[0]);  // else nothing need be computed
  static_cast<void>(kept);
  return static_cast<double>(count) * 12 * 2 * static_cast<double>(hn::Lanes(tag));
}

}  // namespace ringproof::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ringproof {

HWY_EXPORT(multiply_add);
double multiply_add_flops(std::int64_t count) { return HWY_DYNAMIC_DISPATCH(multiply_add)(count); }

}  // namespace ringproof
#endif
