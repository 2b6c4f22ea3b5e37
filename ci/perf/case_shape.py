"""What a Case line says of the work: lengths, operations and bytes."""

from __future__ import annotations

import dataclasses
import re

BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2}
# Share of all pairs of query and key that a mask of equal lengths leaves, for long sequences.
SHARES = {"full": 1.0, "causal_top_left": 0.5, "causal_bottom_right": 0.5}
SHAPE = re.compile(r"b(\d+)\.hq(\d+)\.hkv(\d+)\.sq(\d+)\.skv(\d+)\.dqk(\d+)\.dv(\d+)")


@dataclasses.dataclass(frozen=True)
class Shape:
    dtype: str
    seqlen_q: int
    seqlen_kv: int
    but_length: str  # the line without its lengths
    flops: float  # of both products: two for every multiply-add
    bytes_moved: float  # every tensor once


def shape_of(line: str) -> Shape | None:
    """None for what is no forward Case with a mask whose work is known from its name."""
    fields = line.split("/")
    found = SHAPE.fullmatch(fields[2]) if len(fields) > 3 else None
    if not found or fields[0] != "fwd" or fields[1] not in BYTES or fields[3] not in SHARES:
        return None
    batch, heads_q, heads_kv, rows, keys, dim_qk, dim_v = map(int, found.groups())
    pairs = batch * heads_q * rows * keys * SHARES[fields[3]]
    elements = batch * (heads_q * rows + heads_kv * keys) * (dim_qk + dim_v)
    but_length = re.sub(r"\.sq\d+\.skv\d+", "", line)
    flops = 2.0 * pairs * (dim_qk + dim_v)
    return Shape(fields[1], rows, keys, but_length, flops, float(elements * BYTES[fields[1]]))
