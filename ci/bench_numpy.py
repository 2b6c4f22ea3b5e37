"""Attention in float64 by NumPy or PyTorch, timed on request: one line in, one line out.

Reads lines "FILE heads rows keys head_dim", where FILE holds q, k and v as float64; answers
each with the seconds of wall time, of processor time, and the sum of O.
"""

import importlib.util
import sys
import time

import numpy as np


def attention(q, k, v):
    """Row-blocked, so that the scores of a block stay in the cache."""
    out = np.empty((q.shape[0], v.shape[1]))
    keys = np.ascontiguousarray(k.T)
    for first in range(0, len(q), 512):
        scores = q[first : first + 512] @ keys
        scores *= q.shape[1] ** -0.5
        scores -= scores.max(1, keepdims=True)
        np.exp(scores, out=scores)
        out[first : first + 512] = scores @ v
        out[first : first + 512] /= scores.sum(1, keepdims=True)
    return out


def with_numpy(q, k, v):
    return sum(attention(q[h], k[h], v[h]).sum() for h in range(len(q)))


def with_torch(q, k, v):
    import torch

    tensors = [torch.from_numpy(x)[None] for x in (q, k, v)]
    return float(torch.nn.functional.scaled_dot_product_attention(*tensors).sum())


def main(library):
    answer = with_torch if library == "torch" else with_numpy
    if library == "torch" and importlib.util.find_spec("torch") is None:
        return
    print("ready", flush=True)
    for line in sys.stdin:
        name, heads, rows, keys, head_dim = line.split()
        heads, rows, keys, head_dim = (int(x) for x in (heads, rows, keys, head_dim))
        data = np.fromfile(name)
        q, rest = np.split(data, [heads * rows * head_dim])
        k, v = np.split(rest, 2)
        q = q.reshape(heads, rows, head_dim)
        k, v = (x.reshape(heads, keys, head_dim) for x in (k, v))
        wall, processor = time.perf_counter(), time.process_time()
        total = answer(q, k, v)
        print(time.perf_counter() - wall, time.process_time() - processor, total, flush=True)


main(sys.argv[1])
