"""Attention as a command: `ringproof gate --candidate "cmd:python3 attention.py {in} {out}"`.

Any language will do that reads .npy files: {in} holds q.npy, k.npy, v.npy and problem.json, {out}
takes out.npy and, where problem.json says "lse": true, lse.npy; exit code 77 refuses a problem.
"""

import json
import pathlib
import sys

import numpy as np

inputs, outputs = map(pathlib.Path, sys.argv[1:])
problem = json.loads((inputs / "problem.json").read_text())
F32, FULL, CAUSAL_TOP_LEFT, GROUPED_HEADS, WRITES_LSE = 2, 0, 1, 0, 4  # of candidate_abi.h

if problem["ask"] == "describe":
    description = {
        "name": "attention as a command",
        "dtypes": 1 << F32,
        "masks": 1 << FULL | 1 << CAUSAL_TOP_LEFT,
        "features": 1 << GROUPED_HEADS | 1 << WRITES_LSE,
    }
    (outputs / "description.json").write_text(json.dumps(description))
    sys.exit(0)

q, k, v = (np.load(inputs / f"{name}.npy") for name in "qkv")
k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
scores = np.float32(problem["softmax_scale"]) * (q @ k.swapaxes(2, 3))
if problem["mask"] == CAUSAL_TOP_LEFT:
    visible = np.tri(q.shape[2], k.shape[2], dtype=bool)
    scores = np.where(visible, scores, np.float32(-np.inf))
largest = scores.max(axis=3, keepdims=True)
weights = np.exp(scores - largest)
total = weights.sum(axis=3, keepdims=True)
np.save(outputs / "out.npy", weights @ v / total)
if problem["lse"]:
    np.save(outputs / "lse.npy", (largest + np.log(total))[..., 0])
