"""Libraries' attention as named candidates: `--candidate torch:sdpa` and its like.

One file each, `attention() -> Callee`, which imports its library (NotHere where there is none),
lists every conversion it makes in its description's notes, and declares what the library's
documentation or source says that it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ringproof.description import BadInput

if TYPE_CHECKING:
    from ringproof.worker import Callee

# Name of the candidate -> module here.
ADAPTERS: dict[str, str] = {
    "mlx:sdpa": "mlx_sdpa",
}


def find(spec: str) -> Callee:
    """The adapter of that name. Raises BadInput for an unknown one, NotHere without its library."""
    if spec not in ADAPTERS:
        raise BadInput(f"there is no adapter '{spec}'; there are {', '.join(ADAPTERS)}")
    module = importlib.import_module(f"ringproof.adapters.{ADAPTERS[spec]}")
    callee: Callee = module.attention()
    return callee
