// Attention as its formula says, in CUDA: a plug-in to start your own from. A warp computes a query row:
//
//   m_i = max_j s_ij,   l_i = sum_j exp(s_ij - m_i),   O_i = sum_j exp(s_ij - m_i) v_j / l_i,   s_ij = scale q_i . k_j
//
// over the keys j that row i sees, in three passes over them: no rescaling. Everything is computed in float.

#include <cuda_runtime.h>
#include <ringproof/candidate_abi.h>

#include <cmath>
#include <cstdio>
#include <cstring>

namespace {

constexpr int kWarp = 32;
char last_error[256] = "";

struct Strided {
  float* data;
  long long batch, head, row, column;
  __device__ float& at(long long b, long long h, long long s, long long d) const {
    return data[b * batch + h * head + s * row + d * column];
  }
};

Strided strided(const rp_tensor* t) {
  return {static_cast<float*>(t->data), t->stride[0], t->stride[1], t->stride[2], t->stride[3]};
}

__device__ float sum_of_warp(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// One warp per row; lanes share the head dim of q . k, then the columns of O.
__global__ void attend(rp_problem p, Strided q, Strided k, Strided v, Strided out, Strided lse) {
  const long long rows = p.batch * p.heads_q * p.seqlen_q;
  for (long long index = blockIdx.x; index < rows; index += gridDim.x) {
    const long long i = index % p.seqlen_q, h = index / p.seqlen_q % p.heads_q, b = index / p.seqlen_q / p.heads_q;
    const long long h_kv = h / (p.heads_q / p.heads_kv);
    const int lane = static_cast<int>(threadIdx.x);
    const auto score = [&](long long j) {
      float dot = 0;
      for (long long d = lane; d < p.head_dim_qk; d += kWarp) dot += q.at(b, h, i, d) * k.at(b, h_kv, j, d);
      return sum_of_warp(dot) * static_cast<float>(p.softmax_scale);
    };
    long long keys = p.seqlen_kv;
    if (p.mask == RP_MASK_CAUSAL_TOP_LEFT) keys = min(keys, i + 1);
    if (p.mask == RP_MASK_CAUSAL_BOTTOM_RIGHT) keys = min(keys, max(0ll, i + 1 + p.seqlen_kv - p.seqlen_q));
    float maximum = -INFINITY, sum = 0;
    for (long long j = 0; j < keys; ++j) maximum = fmaxf(maximum, score(j));
    for (long long j = 0; j < keys; ++j) sum += expf(score(j) - maximum);
    for (long long first = 0; first < p.head_dim_v; first += kWarp) {
      const long long d = first + lane;
      float weighted = 0;
      for (long long j = 0; j < keys; ++j) {
        const float weight = expf(score(j) - maximum);
        if (d < p.head_dim_v) weighted += weight * v.at(b, h_kv, j, d);
      }
      if (d < p.head_dim_v) out.at(b, h, i, d) = keys > 0 ? weighted / sum : 0;
    }
    if (lane == 0 && lse.data != nullptr) lse.at(b, h, i, 0) = keys > 0 ? maximum + logf(sum) : -INFINITY;
  }
}

}  // namespace

extern "C" const char* rp_last_error(void) { return last_error; }

extern "C" int rp_describe(rp_description* description) {
  description->abi_version = RP_ABI_VERSION;
  std::strcpy(description->name, "attention in plain CUDA");
  description->dtypes = 1u << RP_F32;
  description->masks = 1u << RP_MASK_FULL | 1u << RP_MASK_CAUSAL_TOP_LEFT | 1u << RP_MASK_CAUSAL_BOTTOM_RIGHT;
  description->features = RP_WANTS_DEVICE_MEMORY | RP_GROUPED_HEADS | RP_ARBITRARY_STRIDES | RP_WRITES_LSE |
                          RP_UNEQUAL_HEAD_DIMS | RP_FORWARD_DETERMINISTIC | RP_NAN_SAFE_UNSEEN | RP_NAN_SAFE_HIDDEN |
                          RP_EMPTY_ROWS_DEFINED | RP_NON_POSITIVE_SCALE | RP_BATCH_INVARIANT;
  return RP_OK;
}

extern "C" int rp_forward(const rp_problem* problem, const rp_tensor* q, const rp_tensor* k, const rp_tensor* v,
                          rp_tensor* out, rp_tensor* lse, void* stream) {
  const long long rows = problem->batch * problem->heads_q * problem->seqlen_q;
  if (rows == 0) return RP_OK;
  const auto blocks = static_cast<unsigned>(rows < 65535 ? rows : 65535);
  const Strided no_lse{nullptr, 0, 0, 0, 0};
  attend<<<blocks, kWarp, 0, static_cast<cudaStream_t>(stream)>>>(*problem, strided(q), strided(k), strided(v),
                                                                  strided(out), lse == nullptr ? no_lse : strided(lse));
  const cudaError_t failed = cudaGetLastError();
  if (failed == cudaSuccess) return RP_OK;
  std::snprintf(last_error, sizeof last_error, "the launch failed: %s", cudaGetErrorString(failed));
  return RP_ERROR;
}
