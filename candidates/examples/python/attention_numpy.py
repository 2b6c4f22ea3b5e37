"""Attention in NumPy: `ringproof gate --candidate python:attention_numpy:attention`, run from here.

O = softmax(scale q k^T) v over the visible keys, in fp32 (fp64 for fp64), rounded once at the end;
rows that see nothing are O = 0, lse = -inf.
"""

import numpy as np
import ringproof


@ringproof.describe(
    dtypes=["fp64", "fp32", "fp16", "bf16"],
    masks=[
        "full",
        "causal_top_left",
        "causal_bottom_right",
        "window",
        "document",
        "block_sparse",
    ],
    features=[
        "grouped_heads",
        "softcap",
        "sink",
        "unequal_head_dims",
        "writes_lse",
        "forward_deterministic",
        "empty_rows_defined",
        "non_positive_scale",
    ],
    arithmetic={"p_dtype": "fp32"},  # never cast to a half
    arithmetic_of={"fp64": ringproof.Arithmetic()},
)
@np.errstate(divide="ignore", invalid="ignore")  # infinities and NaN among the inputs are legal
def attention(q, k, v, problem):
    wide = np.float64 if problem.dtype == "fp64" else np.float32
    q, k, v = (array.astype(wide) for array in (q, k, v))
    group = problem.heads_q // problem.heads_kv
    k, v = (np.repeat(array, group, axis=1) for array in (k, v))
    scores = np.matmul(q, k.swapaxes(2, 3)) * wide(problem.softmax_scale)
    if problem.softcap:
        scores = wide(problem.softcap) * np.tanh(scores / wide(problem.softcap))
    scores = np.where(problem.visible(), scores, wide(-np.inf))

    largest = scores.max(axis=3, keepdims=True, initial=wide(-np.inf))
    if problem.sink is not None:
        logits = problem.sink.astype(wide)[None, :, None, None]
        largest = np.maximum(largest, logits)
    largest = np.where(largest == -np.inf, wide(0), largest)  # rows that see nothing
    weights = np.exp(scores - largest)
    total = weights.sum(axis=3, keepdims=True)
    if problem.sink is not None:
        total += np.exp(logits - largest)

    lse = (np.log(total) + largest)[..., 0]
    out = np.matmul(weights, v) / np.where(total == 0, wide(1), total)
    dtypes = ringproof.dtype_of(problem.dtype_out), ringproof.dtype_of(problem.dtype_lse)
    return out.astype(dtypes[0]), lse.astype(dtypes[1])
