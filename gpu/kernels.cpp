#include "gpu/kernels.h"

#include "gpu/attention_fp64.h"
#include "gpu/flash_forward_fp32.h"
#include "gpu/flash_forward_mma.h"
#include "gpu/flash_split_kv.h"

#ifdef RINGPROOF_WITH_CUDA
#define RINGPROOF_ON_CUDA(kernel) on_cuda::kernel
#else
#define RINGPROOF_ON_CUDA(kernel) nullptr
#endif

namespace ringproof {
namespace {

/// What all kernels here have in common: every mask, every option of semantics.md, strides as they come.
Description description_of(Dtype dtype, std::int64_t head_dim_max) {
  Description description;
  description.dtypes = bit_of(dtype);
  description.masks = bit_of(MaskKind::kFull) | bit_of(MaskKind::kCausalTopLeft) |
                      bit_of(MaskKind::kCausalBottomRight) | bit_of(MaskKind::kWindow) | bit_of(MaskKind::kDocument) |
                      bit_of(MaskKind::kBlockSparse);
  description.directions = bit_of(Direction::kForward);
  description.features = kGroupedHeads | kSoftcap | kSink | kArbitraryStrides | kWritesLse | kUnequalHeadDims |
                         kForwardDeterministic | kNanSafeUnseen | kNanSafeHidden | kEmptyRowsDefined |
                         kNonPositiveScale | kBatchInvariant;
  description.schedules = bit_of(Schedule::kSingle);
  description.head_dim_max = head_dim_max;
  return description;
}

/// fp32 throughout, keys ascending, correctly rounded sums and products, expf and tanhf within 2 ulp on both sides: the
/// default Arithmetic says it all.
Description describe_flash_forward_fp32() { return description_of(Dtype::kF32, kFlashForwardFp32HeadDimMax); }

/// P in the storage dtype, the rest fp32, exponentials within 2 ulp: the default Arithmetic of 16-bit storage.
template <Dtype kDtype>
Description describe_flash_forward_mma() {
  return description_of(kDtype, kFlashForwardMmaHeadDimMax);
}

/// fp64 throughout, fused sums in the tensor cores, exp and tanh within 2 ulp on both sides: again the default.
Description describe_attention_fp64() { return description_of(Dtype::kF64, kAttentionFp64HeadDimMax); }

/// 16-bit inputs are exact in fp32, and so is every rescale and merge, by powers of two: P is fp32, nothing is merged
/// with a rounded weight.
template <Dtype kDtype>
Description describe_flash_split_kv() {
  Description description = description_of(kDtype, kFlashSplitKvHeadDimMax);
  description.arithmetic.p_dtype = Dtype::kF32;
  return description;
}

}  // namespace

const std::vector<FlashKernel>& flash_kernels() {
  static const std::vector<FlashKernel> kernels{
      {"flash_forward_fp32", Dtype::kF32, describe_flash_forward_fp32, on_host::flash_forward_fp32,
       RINGPROOF_ON_CUDA(flash_forward_fp32), nullptr},
      {"flash_forward_mma_bf16", Dtype::kBf16, describe_flash_forward_mma<Dtype::kBf16>, on_host::flash_forward_mma,
       RINGPROOF_ON_CUDA(flash_forward_mma), nullptr},
      {"flash_forward_mma_fp16", Dtype::kF16, describe_flash_forward_mma<Dtype::kF16>, on_host::flash_forward_mma,
       RINGPROOF_ON_CUDA(flash_forward_mma), nullptr},
      {"attention_fp64", Dtype::kF64, describe_attention_fp64, on_host::attention_fp64,
       RINGPROOF_ON_CUDA(attention_fp64), nullptr},
      {"flash_split_kv_fp32", Dtype::kF32, describe_flash_split_kv<Dtype::kF32>, on_host::flash_split_kv_fp32,
       RINGPROOF_ON_CUDA(flash_split_kv_fp32), flash_split_kv_workspace_bytes},
      {"flash_split_kv_fp16", Dtype::kF16, describe_flash_split_kv<Dtype::kF16>, on_host::flash_split_kv_fp16,
       RINGPROOF_ON_CUDA(flash_split_kv_fp16), flash_split_kv_workspace_bytes},
      {"flash_split_kv_bf16", Dtype::kBf16, describe_flash_split_kv<Dtype::kBf16>, on_host::flash_split_kv_bf16,
       RINGPROOF_ON_CUDA(flash_split_kv_bf16), flash_split_kv_workspace_bytes},
  };
  return kernels;
}

}  // namespace ringproof
