"""Ring attention over MPI, run from here, as

    ringproof gate --candidate python:ring_mpi4py:attention --ranks 4 --launcher mpirun

Every rank holds a shard of the queries, which stays, and one of the keys and values, which travels:
after each step it goes to rank + 1. What a rank has seen so far is a partial result (m, l, acc) per
row: the maximum of its scores, the sum of exp(s - m), the sum of exp(s - m) v. A new block raises m
to m', and what came before is worth exp(m - m') of itself. Which key a row sees is a matter of
global tokens, so any schedule that says who owns which token will do.
"""

import numpy as np
import ringproof
from mpi4py import MPI

RING = MPI.COMM_WORLD


@ringproof.describe(
    dtypes=["fp32", "bf16"],
    masks=["full", "causal_top_left", "causal_bottom_right", "window", "document"],
    features=[
        "grouped_heads",
        "softcap",
        "unequal_head_dims",
        "writes_lse",
        "empty_rows_defined",
        "non_positive_scale",
    ],
    schedules=["contiguous", "striped", "zigzag"],
    arithmetic={"p_dtype": "fp32"},  # P is never cast
)
@np.errstate(divide="ignore", invalid="ignore")  # infinities and NaN among the inputs are legal
def attention(q, k, v, problem):
    rows = problem.local_tokens(problem.seqlen_q)
    visible = problem.visible()
    q, k, v = (array.astype(np.float32) for array in (q, k, v))
    maximum = np.full((*q.shape[:3], 1), -np.inf, np.float32)
    total = np.zeros_like(maximum)
    acc = np.zeros(problem.shape_out, np.float32)
    for step in range(RING.size):
        owner = (RING.rank - step) % RING.size
        keys = problem.local_tokens(problem.seqlen_kv, owner)
        maximum, total, acc = merged(
            (maximum, total, acc),
            scores_of(q, k, visible[np.ix_(rows, keys)], problem),
            grouped(v, q),
        )
        if step + 1 < RING.size:
            k, v = RING.sendrecv(
                (k, v), dest=(RING.rank + 1) % RING.size, source=(RING.rank - 1) % RING.size
            )
    lse = (np.log(total) + finite(maximum))[..., 0]
    out = acc / np.where(total == 0, np.float32(1), total)
    return out.astype(ringproof.dtype_of(problem.dtype_out)), lse


def scores_of(q, k, visible, problem):
    scores = np.float32(problem.softmax_scale) * (q @ grouped(k, q).swapaxes(2, 3))
    if problem.softcap:
        scores = np.float32(problem.softcap) * np.tanh(scores / np.float32(problem.softcap))
    return np.where(visible, scores, np.float32(-np.inf))


def merged(before, scores, v):
    """What was known of the rows and a block of further keys."""
    maximum, total, acc = before
    raised = np.maximum(maximum, scores.max(axis=3, keepdims=True, initial=np.float32(-np.inf)))
    weights = np.exp(scores - finite(raised))
    rescale = np.exp(maximum - finite(raised))
    return raised, total * rescale + weights.sum(axis=3, keepdims=True), acc * rescale + weights @ v


def grouped(keys, q):
    """Each kv head as often as query heads share it."""
    return np.repeat(keys, q.shape[1] // keys.shape[1], axis=1)


def finite(maximum):
    """0 for a row that has seen nothing: its weights are then exp(-inf) = 0, not NaN."""
    return np.where(maximum == -np.inf, np.float32(0), maximum)
