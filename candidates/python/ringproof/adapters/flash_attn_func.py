"""flash_attn.flash_attn_func of FlashAttention 2, on a CUDA device.

What its README says: arrays are [batch, sequence, heads, dim], fp16 or bf16; since 2.1 causal is
aligned at the bottom right, window_size counts from that diagonal, both ends inclusive, -1
unbounded; lse is a natural logarithm, [batch, heads, sequence], and +inf for a row that sees no
key.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ringproof.description import Arithmetic, Description, NotHere
from ringproof.problem import Problem
from ringproof.server import Callee


def attention() -> Callee:
    try:
        import flash_attn
        import torch
    except ImportError:
        raise NotHere("flash_attn is not installed here; pip install flash-attn") from None
    if not torch.cuda.is_available():
        raise NotHere("flash_attn needs a CUDA device, and there is none here")

    def run(q: Any, k: Any, v: Any, problem: Problem) -> tuple[Any, Any]:
        window = (-1, -1)
        if problem.mask == "window":
            window = (problem.window_left, problem.window_right)
        out, lse, _ = flash_attn.flash_attn_func(
            *(array.transpose(1, 2).contiguous().cuda() for array in (q, k, v)),
            softmax_scale=problem.softmax_scale,
            causal=problem.mask == "causal_bottom_right",
            window_size=window,
            softcap=problem.softcap,
            return_attn_probs=True,
        )
        return out.transpose(1, 2).contiguous(), lse

    return Callee(
        run, dataclasses.replace(DESCRIPTION, name=f"flash_attn {flash_attn.__version__}")
    )


DESCRIPTION = Description(
    array="torch",
    dtypes=("fp16", "bf16"),
    masks=("full", "causal_bottom_right", "window"),
    features=("grouped_heads", "softcap", "writes_lse", "forward_deterministic"),
    head_dim_multiple=8,
    head_dim_max=256,
    arithmetic=Arithmetic(tanh_error_relative=2.0**-10),
    notes=(
        "q, k, v are copied to the device as [batch, sequence, heads, dim]; out and lse back",
        "tanh is tanh.approx: within 2^-10, as the CUDA documentation bounds it",
    ),
)
