/* Plug-ins that cannot serve; BAD says in which way. The command refuses each in one sentence. */

#include <ringproof/candidate_abi.h>
#include <string.h>

static int is(const char* kind) { return strcmp(BAD, kind) == 0; }

#ifndef WITHOUT_DESCRIBE
int rp_describe(struct rp_description* description) {
  const int is_asked_for_dtype = description->dtype_asked != RP_DTYPE_DEFAULT;
  description->abi_version = is("other_abi") ? 7 : RP_ABI_VERSION;
  if (is("other_abi")) memset(description + 1, 1, 64); /* a later version is larger */
  if (is("empty_description")) return RP_OK;
  description->dtypes = is("no_dtypes") ? 0 : 1u << RP_F32;
  description->masks = is("no_masks") ? 0 : 1u << RP_MASK_FULL;
  if (is("unknown_feature")) description->features = 1u << 30;
  if (is("claims_backward")) description->directions = 3;
  if (is("describe_fails") && is_asked_for_dtype) return RP_ERROR;
  if (is("bad_arithmetic")) description->arithmetic.accumulator_dtype = RP_F8_E4M3;
  return RP_OK;
}
#endif

#ifndef WITHOUT_FORWARD
int rp_forward(const struct rp_problem* p, const struct rp_tensor* q, const struct rp_tensor* k,
               const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream) {
  (void)p, (void)q, (void)k, (void)v, (void)out, (void)lse, (void)stream;
  return RP_ERROR;
}
#endif
