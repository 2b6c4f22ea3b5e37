/* What a C99 compiler makes of the header, for candidate_abi_test.cpp. */

#include <stddef.h>

#include "candidates/candidate_abi.h"
#include "candidates/candidate_abi_fields_test.h"

#define FIELD(type, name) (int64_t)offsetof(struct type, name),
#define WHOLE(type) (int64_t)sizeof(struct type),

int64_t ringproof_test_c99_layout(int i);
int64_t ringproof_test_c99_layout(int i) {
  static const int64_t layout[] = {RP_EVERY_FIELD(FIELD, WHOLE) - 1};
  return layout[i];
}
