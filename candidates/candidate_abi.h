/* Ringproof's C ABI for attention kernels, version 1.
 *
 * A plug-in is a shared library that exports rp_describe and rp_forward, and where it has them rp_backward and
 * rp_last_error. `ringproof gate --candidate ./libmine.so` loads it in a process of its own and judges it. Plain C99
 * with fixed-width integers; no ownership crosses the border: the caller allocates everything, and what it passes is
 * valid until the call returns. Names, order and values below never change within a version. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RP_ABI_VERSION 1

#if defined(_WIN32)
#define RP_EXPORT __declspec(dllexport)
#else
#define RP_EXPORT __attribute__((visibility("default")))
#endif

/* Number formats. In rp_arithmetic, and only there, RP_DTYPE_DEFAULT says "what the storage dtype implies". */
enum rp_dtype {
  RP_DTYPE_DEFAULT = 0,
  RP_F64 = 1,
  RP_F32 = 2,
  RP_F16 = 3,
  RP_BF16 = 4,
  RP_F8_E4M3 = 5,
  RP_F8_E5M2 = 6,
  RP_TF32 = 7 /* only as operand_dtype */
};

/* Which keys j a query row i sees; with d = seqlen_kv - seqlen_q. */
enum rp_mask {
  RP_MASK_FULL = 0,                /* all */
  RP_MASK_CAUSAL_TOP_LEFT = 1,     /* j <= i */
  RP_MASK_CAUSAL_BOTTOM_RIGHT = 2, /* j <= i + d */
  RP_MASK_WINDOW = 3,              /* i + d - window_left <= j <= i + d + window_right; a side of -1 has no end */
  RP_MASK_DOCUMENT = 4,            /* keys of its own document; see cu_seqlens_q */
  RP_MASK_BLOCK_SPARSE = 5         /* keys of tiles whose flag is 1; see block_mask */
};

/* How tokens lie on ranks (P = rank_count); pieces begin at floor(index * seqlen / pieces). */
enum rp_schedule {
  RP_SCHEDULE_SINGLE = 0,     /* one rank holds all */
  RP_SCHEDULE_CONTIGUOUS = 1, /* rank r holds piece r of P */
  RP_SCHEDULE_STRIPED = 2,    /* rank r holds tokens r, r + P, r + 2P, ... */
  RP_SCHEDULE_ZIGZAG = 3,     /* rank r holds pieces r and 2P - 1 - r of 2P */
  RP_SCHEDULE_HEAD_SPLIT = 4, /* as contiguous; ranks exchange tokens for heads */
  RP_SCHEDULE_ALL_GATHER = 5  /* as contiguous; ranks gather all keys */
};

enum rp_key_order {
  RP_KEYS_MONOTONE = 0, /* ascending or descending */
  RP_KEYS_ANY_ORDER = 1
};

/* What all three functions return. */
enum rp_status {
  RP_OK = 0,
  RP_UNSUPPORTED = 1, /* this problem is not taken; counts against the plug-in where its description covers it */
  RP_ERROR = 2        /* the call failed: the Case is inconclusive, rp_last_error is shown */
};

/* Bits of rp_description.features. Without a bit the plug-in is not asked such problems, or not held to the claim. */
enum rp_feature {
  RP_GROUPED_HEADS = 1 << 0,          /* heads_q > heads_kv; query head h reads kv head h / (heads_q / heads_kv) */
  RP_SOFTCAP = 1 << 1,                /* scores c tanh(s / c) */
  RP_SINK = 1 << 2,                   /* a logit per query head in every row's denominator */
  RP_ARBITRARY_STRIDES = 1 << 3,      /* any strides, aligned to one element; without it dense, 16-byte aligned */
  RP_WRITES_LSE = 1 << 4,             /* writes lse when it is given one; NULL comes now and then all the same */
  RP_UNEQUAL_HEAD_DIMS = 1 << 5,      /* head_dim_qk != head_dim_v */
  RP_FORWARD_DETERMINISTIC = 1 << 6,  /* same inputs, same bits of out and lse */
  RP_WANTS_DEVICE_MEMORY = 1 << 7,    /* tensors in CUDA memory, a stream to work on */
  RP_BACKWARD_DETERMINISTIC = 1 << 8, /* same inputs, same bits of the gradients */
  RP_NAN_SAFE_UNSEEN = 1 << 9,        /* a NaN in K or V that no row sees changes nothing */
  RP_NAN_SAFE_HIDDEN = 1 << 10,       /* a NaN in K or V that a row does not see does not change that row */
  RP_EMPTY_ROWS_DEFINED = 1 << 11,    /* rows that see no key are O = 0, lse = -inf */
  RP_NON_POSITIVE_SCALE = 1 << 12,    /* softmax_scale <= 0 */
  RP_WRITES_SINK_GRADIENT = 1 << 13,  /* writes d_sink when it is given one */
  RP_LSE_LEAVES_SINK_OUT = 1 << 14,   /* with a sink, lse is that of the keys alone */
  RP_BATCH_INVARIANT = 1 << 15,       /* a batch element has the same bits alone as in its batch */
  RP_WANTS_BSHD = 1 << 16             /* without RP_ARBITRARY_STRIDES: contiguous BSHD instead of BHSD */
};

/* A strided view of memory of the caller's. Axes: batch, heads, sequence, dim. */
struct rp_tensor {
  void* data;        /* of element (0, 0, 0, 0); may be NULL for a tensor without elements */
  int32_t dtype;     /* enum rp_dtype, the storage format */
  int32_t device;    /* -1 host memory, else the CUDA ordinal */
  int64_t shape[4];  /* elements per axis, >= 0 */
  int64_t stride[4]; /* in elements; inputs: >= 0, 0 broadcasts; outputs: no two elements share memory */
};

/* One attention problem: O = softmax(softmax_scale Q K^T, masked) V, and lse = ln sum exp of a row's scores. All
 * pointers are host pointers, whatever memory the tensors lie in. With rank_count > 1 lengths and tables are those of
 * the whole sequence, and the tensors' shapes those of this rank's shard. */
struct rp_problem {
  int32_t abi_version; /* RP_ABI_VERSION of the caller */
  int32_t mask;        /* enum rp_mask */
  int64_t batch;
  int64_t heads_q;
  int64_t heads_kv; /* divides heads_q */
  int64_t seqlen_q;
  int64_t seqlen_kv;
  int64_t head_dim_qk;
  int64_t head_dim_v;
  int64_t window_left;         /* keys, -1 unbounded; RP_MASK_WINDOW only */
  int64_t window_right;        /* keys, -1 unbounded; RP_MASK_WINDOW only */
  double softmax_scale;        /* finite; not only 1 / sqrt(head_dim_qk) */
  double softcap;              /* 0 none, else > 0 */
  const float* sink;           /* [heads_q] logits, natural units; NULL: no sink */
  int64_t documents;           /* RP_MASK_DOCUMENT: how many, else 0 */
  const int64_t* cu_seqlens_q; /* [documents + 1] first row of each, and one past the last; rows beyond see nothing */
  const int64_t* cu_seqlens_kv;
  int32_t document_causal; /* 1: bottom-right causal inside every document */
  int32_t reserved;
  int64_t block_q;           /* rows per tile; RP_MASK_BLOCK_SPARSE only */
  int64_t block_kv;          /* keys per tile */
  const uint8_t* block_mask; /* [ceil(seqlen_q / block_q)][ceil(seqlen_kv / block_kv)], 1 visible */
  double descale_q;          /* stored numbers times this are meant; 1 except for fp8 storage */
  double descale_k;
  double descale_v;
  int32_t rank;
  int32_t rank_count;
  int32_t schedule;         /* enum rp_schedule */
  int32_t head_split_ranks; /* 1; above 1 for a hybrid, whose ring `schedule` then names */
  int64_t reserved_2[8];
};

/* What a plug-in declares about its own precision, per storage dtype and direction: its error bounds are derived from
 * it. 0 means "the default" or "not known". Defaults: fp64 storage computes everything in fp64 with exp within 4 *
 * 2^-53; fp32 everything in fp32; fp16 and bf16 cast P to that dtype, the rest fp32; fp8 casts P to e4m3, the rest
 * fp32; with fp32 accumulators exp and tanh are within 2.5 ulp. */
struct rp_arithmetic {
  int32_t operand_dtype;             /* what q, k, v are rounded to before the products (RP_TF32 for fp32 storage) */
  int32_t score_dtype;               /* what S is rounded to */
  int32_t p_dtype;                   /* what P is cast to before P V */
  int32_t accumulator_dtype;         /* of both products, of the row sum and of the rescaled O */
  int32_t partial_dtype;             /* partial O between merges */
  int32_t gradient_partial_dtype;    /* partial gradients between sums */
  int32_t p_is_normalised;           /* 1: P is divided by the row sum before its cast */
  int32_t l_sums_cast_p;             /* 1: the row sum adds P after its cast */
  int32_t merge_is_lerp;             /* 1: merges write out -= sigmoid(lse_b - lse) (out - out_b) */
  int32_t key_order;                 /* enum rp_key_order */
  int32_t mma_block;                 /* products a truncating accumulator aligns at once; 0 rounds to nearest */
  int32_t accumulator_fraction_bits; /* its fraction bits */
  int64_t accumulation_depth;        /* longest chain of additions of one output element */
  int64_t tile_kv;                   /* keys per online-softmax step; not known is judged as one */
  int64_t merges;                    /* merges of partial results a row goes through, beyond the schedule's */
  int64_t gradient_partials;         /* partial gradients that are summed */
  double exp_error_relative;         /* relative error of one exponential */
  double tanh_error_relative;        /* relative error of one tanh */
  double p_scale;                    /* factor P carries into its cast (fp8) */
  int64_t reserved[4];
};

/* What a plug-in supports and claims. Cases outside of it are not asked, shown as "unsupported by declaration". */
struct rp_description {
  int32_t abi_version;     /* set by the caller; the plug-in overwrites it with the RP_ABI_VERSION it was built with */
  int32_t dtype_asked;     /* enum rp_dtype; RP_DTYPE_DEFAULT: what is supported, else the arithmetic of that dtype */
  int32_t direction_asked; /* 0 forward, 1 backward */
  int32_t reserved;        /* 0 */
  char name[64];           /* shown in the verdict; ends with 0 */
  uint32_t dtypes;         /* bit n: storage dtype n of enum rp_dtype; at least one */
  uint32_t masks;          /* bit n: mask n of enum rp_mask; at least one */
  uint32_t directions;     /* bit 0 forward, bit 1 backward; 0 means forward */
  uint32_t features;       /* enum rp_feature */
  uint32_t schedules;      /* bit n: schedule n of enum rp_schedule; 0 means single */
  uint32_t head_dim_multiple; /* head dims it takes are multiples of this; 0 any */
  int64_t head_dim_max;       /* 0 no limit */
  int64_t seqlen_max;         /* 0 no limit */
  struct rp_arithmetic arithmetic;
};

/* Mandatory. Called once with dtype_asked = RP_DTYPE_DEFAULT and once per supported dtype and direction. The caller
 * has cleared the struct but for abi_version and what is asked. */
RP_EXPORT int rp_describe(struct rp_description* description);

/* Mandatory. Shapes: q [batch, heads_q, seqlen_q, head_dim_qk], k [batch, heads_kv, seqlen_kv, head_dim_qk], v
 * [batch, heads_kv, seqlen_kv, head_dim_v], out [batch, heads_q, seqlen_q, head_dim_v] in the storage dtype (bf16 for
 * fp8), lse [batch, heads_q, seqlen_q, 1] in fp32 (fp64 for fp64 storage) or NULL; its last stride means nothing.
 * Every element of out and lse is written, nothing else is, inputs stay as they are. `stream` is a cudaStream_t for
 * device memory, else NULL; what is not written when the call returns (and that stream has been synchronised) does
 * not count. */
RP_EXPORT int rp_forward(const struct rp_problem* problem, const struct rp_tensor* q, const struct rp_tensor* k,
                         const struct rp_tensor* v, struct rp_tensor* out, struct rp_tensor* lse, void* stream);

/* Optional, given if and only if `directions` has bit 1. d_out has the shape and dtype of out; gradients those of q,
 * k, v (bf16 for fp8); they are overwritten, never added to. d_sink is NULL or [1, heads_q, 1, 1] in fp32 (fp64 for
 * fp64). */
RP_EXPORT int rp_backward(const struct rp_problem* problem, const struct rp_tensor* q, const struct rp_tensor* k,
                          const struct rp_tensor* v, const struct rp_tensor* out, const struct rp_tensor* lse,
                          const struct rp_tensor* d_out, struct rp_tensor* d_q, struct rp_tensor* d_k,
                          struct rp_tensor* d_v, struct rp_tensor* d_sink, void* stream);

/* Optional. One sentence about the latest RP_ERROR, valid until the next call. */
RP_EXPORT const char* rp_last_error(void);

#ifdef __cplusplus
}
#endif
