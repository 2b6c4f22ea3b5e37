"""mlx.core.fast.scaled_dot_product_attention, on mlx's default device (the CPU without a Mac).

What mlx/fast.cpp says of the composed form, which every CPU call takes: q is multiplied by the
scale, both in the storage dtype, scores are written in it, hidden ones become its least finite
number, softmax runs in fp32 (`precise`) and its result is cast, normalised, to the storage dtype.
An empty row is then the mean of all values, a NaN in any value reaches every row (0 NaN is NaN).
There is no lse.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from typing import Any

import numpy as np

from ringproof.arrays import Array
from ringproof.description import Arithmetic, Description, NotHere
from ringproof.problem import MASKS, Problem
from ringproof.server import Callee

NOTES = (
    "q, k, v are copied into mlx arrays, dense, bf16 through its bits",
    "causal_bottom_right is its 'causal'; every other mask goes as a Boolean array",
    "the sink's logits go as `sinks`, cast to the storage dtype by mlx",
)


def attention() -> Callee:
    try:
        import mlx.core as mx
    except ImportError:
        raise NotHere("mlx is not installed here; pip install 'mlx[cpu]'") from None

    def run(q: Array, k: Array, v: Array, problem: Problem) -> Array:
        mask: Any = None
        if problem.mask == "causal_bottom_right":
            mask = "causal"
        elif problem.mask != "full":
            mask = mx.array(problem.visible())
        sinks = (
            None if problem.sink is None else _to_mlx(mx, problem.sink).astype(_dtype(mx, problem))
        )
        operands = [_to_mlx(mx, array) for array in (q, k, v)]
        scale = problem.softmax_scale
        out = mx.fast.scaled_dot_product_attention(*operands, scale=scale, mask=mask, sinks=sinks)
        return _from_mlx(mx, out, q.dtype)

    version = importlib.metadata.version("mlx")
    return Callee(run, dataclasses.replace(DESCRIPTION, name=f"mlx {version}"))


DESCRIPTION = Description(
    dtypes=("fp32", "fp16", "bf16"),
    masks=MASKS,
    features=(
        "grouped_heads",
        "sink",
        "unequal_head_dims",
        "non_positive_scale",
    ),
    arithmetic=Arithmetic(p_is_normalised=True),
    arithmetic_of={
        "fp16": Arithmetic(p_is_normalised=True, score_dtype="fp16"),
        "bf16": Arithmetic(p_is_normalised=True, score_dtype="bf16"),
    },
    notes=NOTES,
)


def _dtype(mx: Any, problem: Problem) -> Any:
    return {"fp32": mx.float32, "fp16": mx.float16, "bf16": mx.bfloat16}[problem.dtype]


def _to_mlx(mx: Any, array: Array) -> Any:
    dense = np.ascontiguousarray(array)
    if dense.dtype.name == "bfloat16":
        return mx.array(dense.view(np.uint16)).view(mx.bfloat16)
    return mx.array(dense)


def _from_mlx(mx: Any, array: Any, dtype: np.dtype[Any]) -> Array:
    if dtype.name == "bfloat16":
        return np.array(array.view(mx.uint16)).view(dtype)
    return np.array(array)
