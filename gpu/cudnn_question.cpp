// Row i sees the keys up to i + band_hi. Where that is at least the last key for row 0 nothing is hidden; a diagonal
// from the first row and key is band_hi = 0, one that ends in the last row and key is seqlen_kv - seqlen_q.

#include "gpu/cudnn_question.h"

#include <algorithm>

#include "reference/spec/error.h"

namespace ringproof {
namespace {

bool hides_nothing(const FlashParams& p) { return p.band_hi >= p.seqlen_kv - 1; }

CudnnQuestion::Axes four(const std::int64_t* stride) { return {stride[0], stride[1], stride[2], stride[3]}; }

}  // namespace

std::string cudnn_not_asked_reason(const FlashParams& p) {
  if (p.dtype != Dtype::kBf16 && p.dtype != Dtype::kF16) return "storage that is not of 16 bits";
  if (p.out_dtype != p.dtype) return "an output of another dtype";
  if (p.batch == 0 || p.heads_q == 0 || p.seqlen_q == 0 || p.seqlen_kv == 0) return "tensors without elements";
  if (p.head_dim_qk % 8 != 0 || p.head_dim_v % 8 != 0) return "head dims that are no multiple of 8";
  if (p.q_stride[3] != 1 || p.k_stride[3] != 1 || p.v_stride[3] != 1 || p.out_stride[3] != 1) return "a last stride";
  if (p.document_starts_q != nullptr || p.block_mask != nullptr) return "documents or block_sparse";
  if (p.sink != nullptr || p.softcap != 0) return "a sink or softcap";
  if (p.lse == nullptr) return "no lse";
  if (p.band_lo > -(p.seqlen_q - 1)) return "a window";
  if (!hides_nothing(p) && p.band_hi != 0 && p.band_hi != p.seqlen_kv - p.seqlen_q) return "a shifted diagonal";
  return "";
}

CudnnQuestion cudnn_question_of(const FlashParams& p) {
  assert_that(cudnn_not_asked_reason(p).empty(), "cuDNN must not be asked what is not for it");
  CudnnQuestion question{};
  question.q = {p.batch, p.heads_q, p.seqlen_q, p.head_dim_qk};
  question.k = {p.batch, p.heads_kv, p.seqlen_kv, p.head_dim_qk};
  question.v = {p.batch, p.heads_kv, p.seqlen_kv, p.head_dim_v};
  question.out = {p.batch, p.heads_q, p.seqlen_q, p.head_dim_v};
  question.stats = {p.batch, p.heads_q, p.seqlen_q, 1};
  question.q_stride = four(p.q_stride);
  question.k_stride = four(p.k_stride);
  question.v_stride = four(p.v_stride);
  question.out_stride = four(p.out_stride);
  question.stats_stride = {p.lse_stride[0], p.lse_stride[1], p.lse_stride[2], 1};
  question.is_bf16 = p.dtype == Dtype::kBf16;
  question.scale = static_cast<float>(p.scale);
  question.is_causal = !hides_nothing(p);
  question.is_bottom_right = question.is_causal && p.band_hi != 0;
  return question;
}

}  // namespace ringproof
