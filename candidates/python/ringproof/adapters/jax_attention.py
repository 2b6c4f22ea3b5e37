"""jax.nn.dot_product_attention (implementation "xla").

What jax/_src/nn/functions.py says: arrays are [batch, sequence, heads, dim]; scores are at least
fp32, multiplied by the scale after the product; a hidden key's score is a large negative number,
so that an empty row is the mean of all values; softmax runs in fp32, for fp64 too; its result is
cast, normalised, to the storage dtype. is_causal starts at the top left, local_window_size counts
from that diagonal. The lse it can return is in the storage dtype and in fp32 for fp64: it is not
judged.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ringproof.description import Arithmetic, Description, NotHere
from ringproof.problem import MASKS, Problem
from ringproof.server import Callee


def attention() -> Callee:
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        raise NotHere("jax is not installed here; pip install jax") from None

    def run(q: Any, k: Any, v: Any, problem: Problem) -> Any:
        is_causal = problem.mask == "causal_top_left"
        window, mask = None, None
        if problem.mask == "window" and problem.seqlen_q == problem.seqlen_kv:
            ends = (problem.window_left, problem.window_right)
            window = tuple(problem.seqlen_kv if end < 0 else end for end in ends)
        elif not is_causal and problem.mask != "full":
            mask = jnp.asarray(problem.visible())[None, None]
        out = jax.nn.dot_product_attention(
            *(jnp.swapaxes(array, 1, 2) for array in (q, k, v)),
            mask=mask,
            scale=problem.softmax_scale,
            is_causal=is_causal,
            local_window_size=window,
            implementation="xla",
        )
        return jnp.swapaxes(out, 1, 2)

    return Callee(run, dataclasses.replace(DESCRIPTION, name=f"jax {jax.__version__}"))


DESCRIPTION = Description(
    array="jax",
    dtypes=("fp32", "fp16", "bf16"),
    masks=MASKS,
    features=("grouped_heads", "non_positive_scale"),
    arithmetic=Arithmetic(p_is_normalised=True),
    notes=(
        "q, k, v are copied and transposed to [batch, sequence, heads, dim]; out back",
        "causal_top_left is is_causal; window of equal lengths is local_window_size, an unbounded "
        "end the length; every other mask goes as a Boolean array",
        "fp64 is not described: its softmax runs in fp32, which an fp64 verdict could not bear",
    ),
)
