/* Plug-ins that want device memory, on the stand-in for the CUDA driver: attention.c as work of a stream, right or with
 * one of the faults that kernels on devices have. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include <ringproof/candidate_abi.h>

#define rp_describe describe_on_host
#define rp_forward forward_on_host
#include "candidates/examples/c/attention.c"
#undef rp_describe
#undef rp_forward

struct call {
  struct rp_problem problem;
  struct rp_tensor q, k, v, out, lse;
  int has_lse;
};

static int is(const char* trick) { return strcmp(TRICK, trick) == 0; }

static void attend(void* given) {
  struct call* const c = given;
  forward_on_host(&c->problem, &c->q, &c->k, &c->v, &c->out, c->has_lse ? &c->lse : NULL, NULL);
  float* const last = row_of(&c->out, c->problem.batch - 1, c->problem.heads_q - 1, c->problem.seqlen_q - 1);
  if (is("writes_input")) *(float*)c->q.data += 1;
  if (is("writes_behind")) last[c->problem.head_dim_v] = 0;
  free(c);
}

static void spoil(void* given) { *(float*)given = 0; }

int rp_describe(struct rp_description* description) {
  describe_on_host(description);
  description->features |= RP_WANTS_DEVICE_MEMORY;
  return RP_OK;
}

int rp_forward(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  int (*const launch)(void*, void (*)(void*), void*) =
      (int (*)(void*, void (*)(void*), void*))dlsym(RTLD_DEFAULT, "cuLaunchHostFunc");
  int (*const create)(void**, unsigned) = (int (*)(void**, unsigned))dlsym(RTLD_DEFAULT, "cuStreamCreate");
  if (q->device != 0 || out->device != 0 || stream == NULL) {
    last_error = "no device memory was handed out";
    return RP_ERROR;
  }
  if (p->batch * p->heads_q * p->seqlen_q == 0) return RP_OK;
  static void* other;
  if (other == NULL) create(&other, 1);
  struct call* const c = malloc(sizeof *c);
  *c = (struct call){*p, *q, *k, *v, *out, {0}, lse != NULL};
  if (lse != NULL) c->lse = *lse;
  if (is("default_stream")) { /* works at once, and waits for no other stream */
    attend(c);
    return RP_OK;
  }
  if (is("illegal") && p->softmax_scale == 1) launch(stream, NULL, NULL);
  launch(is("other_stream") ? other : stream, attend, c);
  if (is("late")) launch(other, spoil, out->data);
  return RP_OK;
}
