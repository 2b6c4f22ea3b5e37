"""Libraries' attention as named candidates: `--candidate torch:sdpa` and its like.

A function each, `() -> Callee`, which imports its library (NotHere where there is none),
lists every conversion it makes in its description's notes, and declares what the library's
documentation or source says that it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ringproof.description import BadInput

if TYPE_CHECKING:
    from ringproof.server import Callee

# Name of the candidate -> module here and its function.
ADAPTERS = {
    "flash_attn:flash_attn_func": ("flash_attn_func", "attention"),
    "jax:dot_product_attention": ("jax_attention", "attention"),
    "mlx:sdpa": ("mlx_sdpa", "attention"),
    "onnxruntime:attention": ("onnxruntime_attention", "attention"),
    "onnxruntime:multi_head_attention": ("onnxruntime_attention", "multi_head_attention"),
    "torch:sdpa": ("torch_sdpa", "attention"),
    "torch:sdpa_math": ("torch_sdpa", "composed"),
}


def find(spec: str) -> Callee:
    """The adapter of that name. Raises BadInput for an unknown one, NotHere without its library."""
    if spec not in ADAPTERS:
        raise BadInput(f"there is no adapter '{spec}'; there are {', '.join(ADAPTERS)}")
    module_name, function = ADAPTERS[spec]
    module = importlib.import_module(f"ringproof.adapters.{module_name}")
    callee: Callee = getattr(module, function)()
    return callee
