/* Attention by two threads, one of which lives on and waits for the next call, with memory kept between calls and much
 * printed: unusual and right; or with one of the faults that such kernels have had. */

#define _GNU_SOURCE
#define rp_describe honest_describe
#define rp_forward honest_forward
#include "candidates/examples/c/attention.c"
#undef rp_describe
#undef rp_forward

#include <pthread.h>
#include <stdio.h>

enum { kTile = 64, kVector = 4 };

struct part {
  const struct rp_problem* p;
  const struct rp_tensor *q, *k, *v, *out, *lse;
  int index;
  float *score, *sum_v; /* kept: as long as any call has needed */
  int64_t keys_held, dims_held;
};

static struct part parts[2] = {{.index = 0}, {.index = 1}};
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int is_asked = 0, is_started = 0;
static _Thread_local float scale_of_thread;

static int is(const char* trick) { return strcmp(TRICK, trick) == 0; }

static int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

static void hold(struct part* part) {
  const int64_t keys = part->p->seqlen_kv + 1, dims = part->p->head_dim_v + kVector;
  if (keys > part->keys_held) part->score = realloc(part->score, sizeof(float) * (size_t)(part->keys_held = keys));
  if (dims <= part->dims_held) return;
  free(part->sum_v);
  part->sum_v = calloc((size_t)(part->dims_held = dims), sizeof(float));
}

static void row(struct part* part, int64_t batch, int64_t head, int64_t i) {
  const struct rp_problem* const p = part->p;
  const int64_t head_kv = head / (p->heads_q / p->heads_kv), dims = p->head_dim_v;
  const float* const q_i = row_of(part->q, batch, head, i);
  float *const score = part->score, *const sum_v = part->sum_v, *const out_i = row_of(part->out, batch, head, i);
  float maximum = -INFINITY, sum = 0, scale = (float)p->softmax_scale;
  int64_t first, last;
  if (is("scale_of_thread")) scale = scale_of_thread = scale_of_thread == 0 ? scale : scale_of_thread;
  visible_keys(p, i, &first, &last);
  for (int64_t j = first; j <= last; ++j) {
    const float* const k_j = row_of(part->k, batch, head_kv, j);
    float dot = 0;
    for (int64_t d = 0; d < p->head_dim_qk; ++d) dot += q_i[d * part->q->stride[3]] * k_j[d * part->k->stride[3]];
    score[j] = dot * scale;
    if (score[j] > maximum) maximum = score[j];
  }
  for (int64_t d = 0; d < (is("one_tile_cleared") ? min_of(dims, kTile) : dims); ++d) sum_v[d] = 0;
  for (int64_t j = first; j <= last; ++j) {
    const float* const v_j = row_of(part->v, batch, head_kv, j);
    const float weight = expf(score[j] - maximum);
    sum += weight;
    for (int64_t d = 0; d < dims; ++d) sum_v[d] += weight * v_j[d * part->v->stride[3]];
  }
  const int64_t written = is("whole_vectors") ? (dims + kVector - 1) / kVector * kVector : dims;
  for (int64_t d = 0; d < written; ++d) out_i[d * part->out->stride[3]] = last < first ? 0 : sum_v[d] / sum;
  if (part->lse != NULL) *row_of(part->lse, batch, head, i) = last < first ? -INFINITY : maximum + logf(sum);
}

static void work(struct part* part) {
  const struct rp_problem* const p = part->p;
  hold(part);
  int64_t turn_of = 0;
  for (int64_t batch = 0; batch < p->batch; ++batch)
    for (int64_t head = 0; head < p->heads_q; ++head)
      for (int64_t i = 0; i < p->seqlen_q; ++i)
        if (turn_of++ % 2 == part->index) row(part, batch, head, i);
}

static void* serve(void* unused) {
  pthread_mutex_lock(&turn);
  for (;;) {
    while (!is_asked) pthread_cond_wait(&changed, &turn);
    pthread_mutex_unlock(&turn);
    work(&parts[1]);
    pthread_mutex_lock(&turn);
    is_asked = 0;
    pthread_cond_broadcast(&changed);
  }
  return unused;
}

int rp_describe(struct rp_description* description) {
  description->directions = 3;
  return honest_describe(description);
}

/* Declared, and not called by a gate that judges the forward pass. */
int rp_backward(const struct rp_problem* problem, const struct rp_tensor* q, const struct rp_tensor* k,
                const struct rp_tensor* v, const struct rp_tensor* out, const struct rp_tensor* lse,
                const struct rp_tensor* d_out, struct rp_tensor* d_q, struct rp_tensor* d_k, struct rp_tensor* d_v,
                struct rp_tensor* d_sink, void* stream) {
  const void* const given[] = {problem, q, k, v, out, lse, d_out, d_q, d_k, d_v, d_sink, stream};
  (void)given;
  abort();
}

int rp_forward(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  (void)stream;
  for (int line = 0; line < 500; ++line) printf("what a kernel says of itself, line %d\n", line);
  for (int i = 0; i < 2; ++i) {
    struct part* const part = &parts[i];
    part->p = p;
    part->q = q;
    part->k = k;
    part->v = v;
    part->out = out;
    part->lse = lse;
  }
  pthread_t helper;
  if (!is_started && pthread_create(&helper, NULL, serve, NULL) != 0) return RP_ERROR;
  is_started = 1;
  pthread_mutex_lock(&turn);
  is_asked = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&turn);
  work(&parts[0]);
  pthread_mutex_lock(&turn);
  while (is_asked) pthread_cond_wait(&changed, &turn);
  pthread_mutex_unlock(&turn);
  return RP_OK;
}
