/* Ways in which plug-ins have fooled, or could fool, a gate: one correct kernel and a trick that TRICK names, a shared
 * object each. None may be accepted; list.txt beside this file says how each must end, and why. */

#define _GNU_SOURCE
#define rp_describe honest_describe
#define rp_forward honest_forward
#include "candidates/examples/c/attention.c"
#undef rp_describe
#undef rp_forward

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct call {
  const struct rp_problem* p;
  const struct rp_tensor *q, *k, *v;
  struct rp_tensor *out, *lse;
};

static int calls = 0;

static int is(const char* trick) { return strcmp(TRICK, trick) == 0; }

static int honest(struct call c) { return honest_forward(c.p, c.q, c.k, c.v, c.out, c.lse, NULL); }

static float* element(const struct rp_tensor* t, int64_t b, int64_t h, int64_t s, int64_t d) {
  return (float*)t->data + b * t->stride[0] + h * t->stride[1] + s * t->stride[2] + d * t->stride[3];
}

/* Writes what `value` holds, densely; or, with `keep`, reads the output into it. */
static void copy_out(struct call c, float* value, int keep) {
  int64_t i = 0;
  for (int64_t b = 0; b < c.p->batch; ++b)
    for (int64_t h = 0; h < c.p->heads_q; ++h)
      for (int64_t s = 0; s < c.p->seqlen_q; ++s)
        for (int64_t d = 0; d <= c.p->head_dim_v; ++d, ++i) {
          if (d == c.p->head_dim_v && c.lse == NULL) continue;
          float* const at = d == c.p->head_dim_v ? element(c.lse, b, h, s, 0) : element(c.out, b, h, s, d);
          if (keep)
            value[i] = *at;
          else
            *at = value[i];
        }
}

static int64_t count_out(struct call c) { return c.p->batch * c.p->heads_q * c.p->seqlen_q * (c.p->head_dim_v + 1); }

static int fill(struct call c, float value, float lse) {
  float* const values = malloc(sizeof(float) * (size_t)(count_out(c) + 1));
  for (int64_t i = 0; i < count_out(c); ++i) values[i] = i % (c.p->head_dim_v + 1) == c.p->head_dim_v ? lse : value;
  copy_out(c, values, 0);
  free(values);
  return RP_OK;
}

/* The answer of the latest call with the same key instead of one's own. */
static int cached(struct call c, const void* key, size_t size) {
  static char keys[64][128];
  static float* answers[64];
  static int known = 0;
  char mine[128] = {0};
  memcpy(mine, key, size);
  for (int i = 0; i < known; ++i)
    if (memcmp(keys[i], mine, sizeof mine) == 0) {
      copy_out(c, answers[i], 0);
      return RP_OK;
    }
  const int status = honest(c);
  if (known < 64 && c.lse != NULL) {
    memcpy(keys[known], mine, sizeof mine);
    answers[known] = malloc(sizeof(float) * (size_t)(count_out(c) + 1));
    copy_out(c, answers[known++], 1);
  }
  return status;
}

struct late {
  struct rp_tensor out;
  float value;
};

static void* write_late(void* argument) {
  struct late* const late = argument;
  usleep(20000);
  *(float*)late->out.data = late->value;
  free(late);
  return NULL;
}

static int answer_late(struct call c) {
  const int status = honest(c);
  struct late* const late = malloc(sizeof *late);
  late->out = *c.out;
  late->value = *(float*)c.out->data;
  *(float*)c.out->data = 0;
  pthread_t thread;
  pthread_create(&thread, NULL, write_late, late);
  pthread_detach(thread);
  return status;
}

/* A process of its own goes on writing. */
static int answer_late_by_a_child(struct call c) {
  const int status = honest(c);
  float* const at = c.out->data;
  const float value = *at;
  *at = 0;
  if (fork() == 0) {
    usleep(20000);
    *at = value;
    _exit(0);
  }
  return status;
}

static void* write_for_ever(void* argument) {
  for (volatile float* const at = argument;; usleep(100)) *at += 1e-3f;
  return NULL;
}

static int leave_a_writer(struct call c) {
  const int status = honest(c);
  pthread_t thread;
  if (calls == 3 && pthread_create(&thread, NULL, write_for_ever, c.out->data) == 0) pthread_detach(thread);
  return status;
}

/* Says that it is done, in the worker's words, and only then computes. */
static int answer_first(struct call c) {
  const char words[] = "{\"status\": 0}\n";
  (void)!write(3, words, sizeof words - 1);
  usleep(20000);
  return honest(c);
}

static int unmap_out(struct call c) {
  const int status = honest(c);
  const uintptr_t page = (uintptr_t)c.out->data / 4096 * 4096;
  munmap((void*)page, 4096);
  return status;
}

static int fork_and_end(struct call c) {
  if (fork() != 0) _exit(0);
  return honest(c); /* the child answers in its parent's place */
}

static int close_all(struct call c) {
  const int status = honest(c);
  for (int descriptor = 3; descriptor < 64; ++descriptor) close(descriptor);
  return status;
}

/* What the caller passed is altered, so that a caller who trusts it looks elsewhere. */
static int answer_elsewhere(struct call c) {
  const size_t bytes = sizeof(float) * (size_t)(count_out(c) + 1);
  c.out->data = calloc(1, bytes);
  for (int axis = 3, step = 1; axis >= 0; step *= (int)c.out->shape[axis--]) c.out->stride[axis] = step;
  return honest(c);
}

/* A kernel of which the scale of the first call is compiled in. */
static int scale_of_first_call(struct call c) {
  static double scale = 0;
  if (scale == 0) scale = c.p->softmax_scale;
  struct rp_problem problem = *c.p;
  problem.softmax_scale = scale;
  c.p = &problem;
  return honest(c);
}

static int leak(void) {
  for (;;) {
    volatile char* const bytes = malloc(1 << 22);
    for (int at = 0; bytes != NULL && at < 1 << 22; at += 4096) bytes[at] = 1;
  }
}

static int dig(int depth) {
  volatile char stack[4096];
  stack[0] = (char)depth;
  return dig(depth + 1) + stack[0];
}

int rp_describe(struct rp_description* description) {
  const int status = honest_describe(description);
  if (is("looser_than_anything")) description->arithmetic.exp_error_relative = 0.5;
  if (is("says_another_thing_later") && getenv("RINGPROOF_TRICK_MARK") != NULL) {
    if (access(getenv("RINGPROOF_TRICK_MARK"), F_OK) == 0) description->arithmetic.exp_error_relative = 0.01;
  }
  if (is("crash_in_describe")) raise(SIGSEGV);
  return status;
}

static int end_or_fail(struct call c) {
  if (is("exit_0")) exit(0);
  if (is("exit_3")) _exit(3);
  if (is("abort")) abort();
  if (is("crash")) *(volatile int*)8 = 1;
  if (is("endless_recursion")) return dig(0);
  if (is("hang")) sleep(1000);
  if (is("leak")) return leak();
  if (is("answers_in_its_place")) { /* what the worker would say, and then nothing more */
    const char words[] = "{\"status\": 0}\n";
    (void)!write(3, words, sizeof words - 1);
    _exit(0);
  }
  if (is("killed")) kill(getpid(), SIGKILL);
  if (is("stops_itself")) raise(SIGSTOP);
  if (is("returns_error")) {
    last_error = "no room for the split";
    return RP_ERROR;
  }
  if (is("returns_nonsense")) return 77;
  if (is("refuses_what_it_declared") && c.p->batch == 2) return RP_UNSUPPORTED;
  if (is("refuses_windows") && c.p->mask == RP_MASK_WINDOW) return RP_UNSUPPORTED;
  if (is("says_another_thing_later")) {
    if (getenv("RINGPROOF_TRICK_MARK") != NULL) fclose(fopen(getenv("RINGPROOF_TRICK_MARK"), "w"));
    _exit(1);
  }
  return honest(c);
}

int rp_forward(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  (void)stream;
  const struct call c = {p, q, k, v, out, lse};
  ++calls;
  if (is("nothing_written")) return RP_OK;
  if (is("zeros")) return fill(c, 0, 0);
  if (is("constant")) return fill(c, 0.25f, 1);
  if (is("nan_as_wildcard")) return fill(c, NAN, NAN);
  if (is("cached_by_pointer")) {
    const void* const key[5] = {q->data, k->data, v->data, out->data, (void*)p->seqlen_kv};
    return cached(c, key, sizeof key);
  }
  if (is("cached_by_shape")) {
    const int64_t key[8] = {p->batch,     p->heads_q,     p->heads_kv,   p->seqlen_q,
                            p->seqlen_kv, p->head_dim_qk, p->head_dim_v, p->mask};
    return cached(c, key, sizeof key);
  }
  if (is("cached_by_problem")) { /* scale and all, but not the data */
    const double key[9] = {(double)p->batch,      (double)p->heads_q,   (double)p->heads_kv,
                           (double)p->seqlen_q,   (double)p->seqlen_kv, (double)p->head_dim_qk,
                           (double)p->head_dim_v, (double)p->mask,      p->softmax_scale};
    return cached(c, key, sizeof key);
  }
  if (is("right_at_first")) return calls <= 10 ? honest(c) : fill(c, 0, 0);
  if (is("every_other_call_skipped")) return calls % 2 == 1 ? honest(c) : RP_OK;
  if (is("scale_of_first_call")) return scale_of_first_call(c);
  if (is("late_on_a_thread")) return answer_late(c);
  if (is("late_by_a_child")) return answer_late_by_a_child(c);
  if (is("a_thread_writes_on")) return leave_a_writer(c);
  if (is("answers_first")) return answer_first(c);
  if (is("unmaps_out")) return unmap_out(c);
  if (is("forks_and_ends")) return fork_and_end(c);
  if (is("closes_descriptors")) return close_all(c);
  if (is("answers_elsewhere")) return answer_elsewhere(c);
  const int status = end_or_fail(c);
  if (out->data == NULL || element(out, 0, 0, 0, 0) == NULL) return status;
  if (is("modifies_q")) *element(q, 0, 0, 0, 0) += 1;
  if (is("modifies_and_restores_q")) {
    *element(q, 0, 0, 0, 0) += 1;
    *element(q, 0, 0, 0, 0) -= 1;
  }
  if (is("writes_in_front")) ((float*)out->data)[-1] = 0;
  if (is("writes_behind")) *(element(out, p->batch - 1, p->heads_q - 1, p->seqlen_q - 1, p->head_dim_v - 1) + 1) = 0;
  if (is("reads_behind_k")) {
    volatile const float* const end =
        element(k, p->batch - 1, p->heads_kv - 1, p->seqlen_kv - 1, p->head_dim_qk - 1) + 1;
    (void)*end;
  }
  if (is("declined_lse_written")) *(float*)out->data += lse == NULL ? 1 : 0;
  return status;
}
