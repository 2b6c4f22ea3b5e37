/* A correct answer over ranks without a transport: with the mask window(0,0) and as many keys as rows, each row sees
 * its own key alone, which the rank holds, so O = V. The file that RINGPROOF_TRICK_MARK names holds a fault and its
 * rank, brought out by a Case of 23 rows. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "candidates/candidate_abi.h"

static char why[128];

const char* rp_last_error(void) { return why; }

int rp_describe(struct rp_description* description) {
  description->abi_version = RP_ABI_VERSION;
  strcpy(description->name, "own key");
  description->dtypes = 1u << RP_F32;
  description->masks = 1u << RP_MASK_WINDOW;
  description->schedules = 1u << RP_SCHEDULE_SINGLE | 1u << RP_SCHEDULE_CONTIGUOUS | 1u << RP_SCHEDULE_STRIPED |
                           1u << RP_SCHEDULE_ZIGZAG | 1u << RP_SCHEDULE_HEAD_SPLIT;
  description->features = RP_FORWARD_DETERMINISTIC;
  return RP_OK;
}

static int number(const char* variable) {
  const char* const text = getenv(variable);
  return text == NULL ? -1 : atoi(text);
}

static int is_faulty(const struct rp_problem* p, const char* fault) {
  char name[64] = "";
  int rank = -1;
  const char* const path = getenv("RINGPROOF_TRICK_MARK");
  FILE* const file = path == NULL || p->seqlen_q != 23 ? NULL : fopen(path, "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%63s %d", name, &rank) != 2) rank = -1;
  fclose(file);
  return rank == p->rank && strcmp(name, fault) == 0;
}

int rp_forward(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  (void)q, (void)k, (void)lse, (void)stream;
  if (number("RANK") != p->rank || number("WORLD_SIZE") != p->rank_count || number("LOCAL_RANK") != p->rank ||
      getenv("MASTER_ADDR") == NULL || number("MASTER_PORT") <= 0) {
    snprintf(why, sizeof why, "rank %d of %d has another place in its environment", p->rank, p->rank_count);
    return RP_ERROR;
  }
  if (is_faulty(p, "crash")) *(volatile int*)NULL = 1;
  if (is_faulty(p, "exit")) _exit(9);
  if (is_faulty(p, "hang")) sleep(600);
  if (is_faulty(p, "refuse")) return RP_UNSUPPORTED;
  if (is_faulty(p, "error")) {
    strcpy(why, "the link is down");
    return RP_ERROR;
  }
  const size_t bytes = sizeof(float) * (size_t)(v->shape[0] * v->shape[1] * v->shape[2] * v->shape[3]);
  if (bytes > 0) memcpy(out->data, v->data, bytes);
  if (bytes > 0 && is_faulty(p, "wrong")) ((float*)out->data)[0] += 1;
  return RP_OK;
}
