/* Kernels that keep what they should have taken anew: one correct kernel of every mask, with softcap and sink, and a
 * fault of state that TRICK names. Each answers a call by itself correctly; only a sequence of calls shows it. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ringproof/candidate_abi.h>

static int is(const char* trick) { return strcmp(TRICK, trick) == 0; }

int rp_describe(struct rp_description* description) {
  description->abi_version = RP_ABI_VERSION;
  strcpy(description->name, "every mask in plain C");
  description->dtypes = 1u << RP_F32;
  description->masks = 0x3f;
  description->features = RP_GROUPED_HEADS | RP_SOFTCAP | RP_SINK | RP_ARBITRARY_STRIDES | RP_WRITES_LSE |
                          RP_UNEQUAL_HEAD_DIMS | RP_FORWARD_DETERMINISTIC | RP_NAN_SAFE_UNSEEN | RP_NAN_SAFE_HIDDEN |
                          RP_EMPTY_ROWS_DEFINED | RP_NON_POSITIVE_SCALE | RP_BATCH_INVARIANT;
  return RP_OK;
}

static float* row_of(const struct rp_tensor* t, int64_t batch, int64_t head, int64_t row) {
  return (float*)t->data + batch * t->stride[0] + head * t->stride[1] + row * t->stride[2];
}

static int64_t document_of(const int64_t* begins, int64_t documents, int64_t token) {
  for (int64_t n = 0; n < documents; ++n)
    if (begins[n] <= token && token < begins[n + 1]) return n;
  return -1;
}

static int sees(const struct rp_problem* p, int64_t i, int64_t j) {
  const int64_t diagonal = i + p->seqlen_kv - p->seqlen_q;
  if (p->mask == RP_MASK_CAUSAL_TOP_LEFT) return j <= i;
  if (p->mask == RP_MASK_CAUSAL_BOTTOM_RIGHT) return j <= diagonal;
  if (p->mask == RP_MASK_WINDOW)
    return (p->window_left < 0 || j >= diagonal - p->window_left) &&
           (p->window_right < 0 || j <= diagonal + p->window_right);
  if (p->mask == RP_MASK_BLOCK_SPARSE)
    return p->block_mask[i / p->block_q * ((p->seqlen_kv + p->block_kv - 1) / p->block_kv) + j / p->block_kv];
  if (p->mask != RP_MASK_DOCUMENT) return 1;
  const int64_t n = document_of(p->cu_seqlens_q, p->documents, i);
  if (n < 0 || n != document_of(p->cu_seqlens_kv, p->documents, j)) return 0;
  const int64_t row = i - p->cu_seqlens_q[n], key = j - p->cu_seqlens_kv[n];
  const int64_t rows = p->cu_seqlens_q[n + 1] - p->cu_seqlens_q[n],
                keys = p->cu_seqlens_kv[n + 1] - p->cu_seqlens_kv[n];
  return !p->document_causal || key <= row + keys - rows;
}

/* A copy of `size` bytes that the first call with this key has made. */
static const void* kept(const void* fresh, size_t size, const void* key, size_t key_size) {
  static struct {
    char key[160];
    size_t size;
    void* bytes;
  } all[4096];
  static int count = 0;
  char mine[160] = {0};
  memcpy(mine, key, key_size);
  if (fresh == NULL || size == 0) return fresh;
  for (int n = 0; n < count; ++n)
    if (memcmp(all[n].key, mine, sizeof mine) == 0 && all[n].size == size) return all[n].bytes;
  if (count == 4096) return fresh;
  memcpy(all[count].key, mine, sizeof mine);
  all[count].size = size;
  all[count].bytes = malloc(size);
  memcpy(all[count].bytes, fresh, size);
  return all[count++].bytes;
}

/* A hash of the numbers of a tensor. */
static uint64_t hash_of(const struct rp_tensor* t) {
  uint64_t hash = 1469598103934665603u;
  for (int64_t b = 0; b < t->shape[0]; ++b)
    for (int64_t h = 0; h < t->shape[1]; ++h)
      for (int64_t s = 0; s < t->shape[2]; ++s)
        for (int64_t d = 0; d < t->shape[3]; ++d) {
          uint32_t bits;
          memcpy(&bits, row_of(t, b, h, s) + d * t->stride[3], sizeof bits);
          hash = (hash ^ bits) * 1099511628211u;
        }
  return hash;
}

static float score_of(const struct rp_problem* p, const float* q, int64_t q_stride, const float* k, int64_t k_stride) {
  float dot = 0;
  for (int64_t d = 0; d < p->head_dim_qk; ++d) dot += q[d * q_stride] * k[d * k_stride];
  dot *= (float)p->softmax_scale;
  return p->softcap > 0 ? (float)p->softcap * tanhf(dot / (float)p->softcap) : dot;
}

static int attend(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
                  const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse) {
  float* const score = malloc(sizeof(float) * (size_t)(p->seqlen_kv + p->head_dim_v + 1));
  float* const sum_v = score + p->seqlen_kv;
  for (int64_t n = 0; n < p->batch * p->heads_q * p->seqlen_q; ++n) {
    const int64_t i = n % p->seqlen_q, head = n / p->seqlen_q % p->heads_q, batch = n / p->seqlen_q / p->heads_q;
    const int64_t head_kv = head / (p->heads_q / p->heads_kv);
    float maximum = p->sink != NULL ? p->sink[head] : -INFINITY;
    for (int64_t j = 0; j < p->seqlen_kv; ++j) {
      score[j] = -INFINITY;
      if (!sees(p, i, j)) continue;
      score[j] = score_of(p, row_of(q, batch, head, i), q->stride[3], row_of(k, batch, head_kv, j), k->stride[3]);
      if (score[j] > maximum) maximum = score[j];
    }
    float sum = p->sink != NULL && maximum > -INFINITY ? expf(p->sink[head] - maximum) : 0;
    memset(sum_v, 0, sizeof(float) * (size_t)p->head_dim_v);
    for (int64_t j = 0; j < p->seqlen_kv; ++j) {
      if (!sees(p, i, j)) continue;
      const float weight = expf(score[j] - maximum);
      sum += weight;
      const float* const v_j = row_of(v, batch, head_kv, j);
      for (int64_t d = 0; d < p->head_dim_v; ++d) sum_v[d] += weight * v_j[d * v->stride[3]];
    }
    float* const out_i = row_of(out, batch, head, i);
    for (int64_t d = 0; d < p->head_dim_v; ++d) out_i[d * out->stride[3]] = sum == 0 ? 0 : sum_v[d] / sum;
    if (lse != NULL) *row_of(lse, batch, head, i) = sum == 0 ? -INFINITY : maximum + logf(sum);
  }
  free(score);
  return RP_OK;
}

/* The shape, and what a kernel that is compiled for a problem might think enough to tell problems apart. */
struct shape {
  int64_t lengths[7], mask, more[4];
};

#define KEPT(field, size) kept(field, size, shape, sizeof *shape)

static void keep_numbers(struct rp_problem* p, struct shape* shape) {
  if (is("scale_kept")) p->softmax_scale = *(const double*)KEPT(&p->softmax_scale, sizeof p->softmax_scale);
  if (is("softcap_kept")) p->softcap = *(const double*)KEPT(&p->softcap, sizeof p->softcap);
  if (is("softcap_of_scale_kept")) {
    memcpy(&shape->more[3], &p->softmax_scale, sizeof p->softmax_scale);
    p->softcap = *(const double*)KEPT(&p->softcap, sizeof p->softcap);
  }
  if (is("document_causal_kept"))
    p->document_causal = *(const int32_t*)KEPT(&p->document_causal, sizeof p->document_causal);
}

static void keep_tables(struct rp_problem* p, struct shape* shape) {
  if (is("sink_kept")) p->sink = KEPT(p->sink, sizeof(float) * (size_t)p->heads_q);
  if (is("documents_kept")) p->cu_seqlens_kv = KEPT(p->cu_seqlens_kv, sizeof(int64_t) * (size_t)(p->documents + 1));
  if (is("blocks_kept") && p->block_mask != NULL) {
    const int64_t rows = (p->seqlen_q + p->block_q - 1) / p->block_q,
                  keys = (p->seqlen_kv + p->block_kv - 1) / p->block_kv;
    p->block_mask = KEPT(p->block_mask, (size_t)(rows * keys));
  }
}

static int64_t rows_of(const struct rp_problem* p) { return p->batch * p->heads_q * p->seqlen_q; }

/* Reads the output into `values`, or writes it. */
static void copy_out(const struct rp_problem* p, const struct rp_tensor* out, float* values, int write) {
  for (int64_t n = 0; n < rows_of(p) * p->head_dim_v; ++n) {
    const int64_t row = n / p->head_dim_v, i = row % p->seqlen_q, head = row / p->seqlen_q % p->heads_q;
    float* const at = row_of(out, row / p->seqlen_q / p->heads_q, head, i) + n % p->head_dim_v * out->stride[3];
    if (write)
      *at = values[n];
    else
      values[n] = *at;
  }
}

/* The output of the first call with this key; lse is always formed anew. */
static int answer_by(const uint64_t key[8], const struct rp_problem* p, const struct rp_tensor* q,
                     const struct rp_tensor* k, const struct rp_tensor* v, struct rp_tensor* out,
                     struct rp_tensor* lse) {
  const size_t size = sizeof(float) * (size_t)(rows_of(p) * p->head_dim_v);
  float* const fresh = malloc(size + 1);
  attend(p, q, k, v, out, lse);
  copy_out(p, out, fresh, 0);
  copy_out(p, out, (float*)kept(fresh, size, key, sizeof(uint64_t[8])), 1);
  free(fresh);
  return RP_OK;
}

int rp_forward(const struct rp_problem* given, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  (void)stream;
  struct rp_problem p = *given;
  struct shape shape = {{p.batch, p.heads_q, p.heads_kv, p.seqlen_q, p.seqlen_kv, p.head_dim_qk, p.head_dim_v},
                        p.mask,
                        {p.documents, p.block_q, p.block_kv, 0}};
  keep_numbers(&p, &shape);
  keep_tables(&p, &shape);
  if (!is("answer_by_q") && !is("answer_by_data")) return attend(&p, q, k, v, out, lse);
  uint64_t key[8] = {(uint64_t)p.mask, hash_of(q), (uint64_t)p.seqlen_kv};
  if (is("answer_by_data")) key[3] = hash_of(k), key[4] = hash_of(v);
  return answer_by(key, &p, q, k, v, out, lse);
}
