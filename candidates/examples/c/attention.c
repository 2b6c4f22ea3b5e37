/* Attention as its formula says, in plain C: a plug-in that Ringproof accepts, to start your own from.
 *
 *   O_i = sum_j exp(s_ij - m_i) v_j / sum_j exp(s_ij - m_i),   s_ij = scale q_i . k_j,   m_i = max_j s_ij
 *
 * over the keys j that row i sees; lse_i = m_i + ln sum_j exp(s_ij - m_i). Scores of a row are kept, so one pass finds
 * the maximum and one sums: no rescaling. Everything is computed in float. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ringproof/candidate_abi.h>

static const char* last_error = "";

const char* rp_last_error(void) { return last_error; }

int rp_describe(struct rp_description* description) {
  description->abi_version = RP_ABI_VERSION;
  strcpy(description->name, "attention in plain C");
  description->dtypes = 1u << RP_F32;
  description->masks = 1u << RP_MASK_FULL | 1u << RP_MASK_CAUSAL_TOP_LEFT | 1u << RP_MASK_CAUSAL_BOTTOM_RIGHT |
                       1u << RP_MASK_WINDOW;
  description->features = RP_GROUPED_HEADS | RP_ARBITRARY_STRIDES | RP_WRITES_LSE | RP_UNEQUAL_HEAD_DIMS |
                          RP_FORWARD_DETERMINISTIC | RP_NAN_SAFE_UNSEEN | RP_NAN_SAFE_HIDDEN | RP_EMPTY_ROWS_DEFINED |
                          RP_NON_POSITIVE_SCALE | RP_BATCH_INVARIANT;
  return RP_OK;
}

/* Element 0 of a row. */
static float* row_of(const struct rp_tensor* t, int64_t batch, int64_t head, int64_t row) {
  return (float*)t->data + batch * t->stride[0] + head * t->stride[1] + row * t->stride[2];
}

/* The keys [first, last] that row i sees. */
static void visible_keys(const struct rp_problem* p, int64_t i, int64_t* first, int64_t* last) {
  const int64_t diagonal = i + p->seqlen_kv - p->seqlen_q; /* aligned to the bottom right */
  *first = 0;
  *last = p->seqlen_kv - 1;
  if (p->mask == RP_MASK_CAUSAL_TOP_LEFT && i < *last) *last = i;
  if (p->mask == RP_MASK_CAUSAL_BOTTOM_RIGHT && diagonal < *last) *last = diagonal;
  if (p->mask == RP_MASK_WINDOW) {
    if (p->window_right >= 0 && diagonal + p->window_right < *last) *last = diagonal + p->window_right;
    if (p->window_left >= 0 && diagonal - p->window_left > *first) *first = diagonal - p->window_left;
  }
}

int rp_forward(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  (void)stream;
  if (q->dtype != RP_F32) return RP_UNSUPPORTED;
  float* const score = malloc(sizeof(float) * (size_t)(p->seqlen_kv + p->head_dim_v + 1));
  if (score == NULL) {
    last_error = "out of memory";
    return RP_ERROR;
  }
  float* const sum_v = score + p->seqlen_kv;
  for (int64_t batch = 0; batch < p->batch; ++batch) {
    for (int64_t head = 0; head < p->heads_q; ++head) {
      const int64_t head_kv = head / (p->heads_q / p->heads_kv);
      for (int64_t i = 0; i < p->seqlen_q; ++i) {
        const float* const q_i = row_of(q, batch, head, i);
        int64_t first, last;
        visible_keys(p, i, &first, &last);
        float maximum = -INFINITY, sum = 0;
        for (int64_t j = first; j <= last; ++j) {
          const float* const k_j = row_of(k, batch, head_kv, j);
          float dot = 0;
          for (int64_t d = 0; d < p->head_dim_qk; ++d) dot += q_i[d * q->stride[3]] * k_j[d * k->stride[3]];
          score[j] = dot * (float)p->softmax_scale;
          if (score[j] > maximum) maximum = score[j];
        }
        for (int64_t d = 0; d < p->head_dim_v; ++d) sum_v[d] = 0;
        for (int64_t j = first; j <= last; ++j) {
          const float* const v_j = row_of(v, batch, head_kv, j);
          const float weight = expf(score[j] - maximum);
          sum += weight;
          for (int64_t d = 0; d < p->head_dim_v; ++d) sum_v[d] += weight * v_j[d * v->stride[3]];
        }
        float* const out_i = row_of(out, batch, head, i);
        for (int64_t d = 0; d < p->head_dim_v; ++d) out_i[d * out->stride[3]] = last < first ? 0 : sum_v[d] / sum;
        if (lse != NULL) *row_of(lse, batch, head, i) = last < first ? -INFINITY : maximum + logf(sum);
      }
    }
  }
  free(score);
  return RP_OK;
}
