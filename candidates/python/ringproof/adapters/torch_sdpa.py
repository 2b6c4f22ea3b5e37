"""torch.nn.functional.scaled_dot_product_attention, on the CPU.

What its documentation says: is_causal masks above the diagonal that starts at the top left;
attn_mask is True where a key takes part; enable_gqa repeats kv heads blockwise; empty rows are 0
(since 2.5). What aten/src/ATen/native says: for equal head dims and unit last strides the CPU
takes its flash kernel (cpu/FlashAttentionKernel.cpp), which accumulates in fp32 (fp64 for fp64),
sums rows before P is cast to the storage dtype and divides at the end. Everything else goes to the
composed form (transformers/attention.cpp), which computes halves in fp32 and normalises P before
it meets V. No lse is returned.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from ringproof.description import Arithmetic, Description, NotHere
from ringproof.problem import MASKS, Problem
from ringproof.server import Callee


def attention() -> Callee:
    """`torch:sdpa`: as a caller gets it, on problems that the flash kernel takes."""
    return _callee(DESCRIPTION)


def composed() -> Callee:
    """`torch:sdpa_math`: the composed form alone."""
    return _callee(COMPOSED, "MATH")


def _callee(description: Description, only: str = "") -> Callee:
    try:
        import torch
    except ImportError as reason:
        raise NotHere(f"torch cannot be imported here ({reason}); pip install torch") from None
    torch.set_num_threads(1)  # the command has its own

    def run(q: Any, k: Any, v: Any, problem: Problem) -> Any:
        is_causal = problem.mask == "causal_top_left"
        mask = None
        if not is_causal and problem.mask != "full":
            mask = torch.from_numpy(problem.visible())
        options = {
            "scale": problem.softmax_scale,
            "enable_gqa": problem.heads_q != problem.heads_kv,
        }
        choice: Any = contextlib.nullcontext()
        if only:
            kinds = torch.nn.attention.SDPBackend
            choice = torch.nn.attention.sdpa_kernel(getattr(kinds, only))
        with choice:
            out = torch.nn.functional.scaled_dot_product_attention(
                *(x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v)),
                attn_mask=mask,
                is_causal=is_causal,
                **options,
            )
        return out.contiguous()

    return Callee(run, dataclasses.replace(description, name=f"torch {torch.__version__}"))


DESCRIPTION = Description(
    array="torch",
    dtypes=("fp64", "fp32", "fp16", "bf16"),
    masks=MASKS,
    features=("grouped_heads", "empty_rows_defined"),
    arithmetic=Arithmetic(),
    notes=(
        "q, k, v are views of the same memory; dense copies where the last stride is not 1",
        "causal_top_left is is_causal; every other mask goes as a Boolean attn_mask",
        "out is made contiguous",
    ),
)
COMPOSED = dataclasses.replace(
    DESCRIPTION,
    features=(*DESCRIPTION.features, "unequal_head_dims"),
    arithmetic=Arithmetic(p_is_normalised=True),
)
