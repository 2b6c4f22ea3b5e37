"""Case lines as the NumPy side reads them: the fields it needs.

direction/dtype/shape/mask/scale[,softcap][,sink][,descale(q,k,v)]/inputs:seed/memory/topology, as
in
fwd/bf16/b2.hq8.hkv2.sq128.skv512.dqk64.dv64/window(63,0)/scale0.125/gauss:17/bhsd/single
Memory and topology change no answer: they are read over.
"""

import pathlib
import re
from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """One Case line. Lengths count elements; `scale` is what the oracle multiplies with."""

    line: str
    dtype: str
    batch: int
    heads_q: int
    heads_kv: int
    seqlen_q: int
    seqlen_kv: int
    head_dim_qk: int
    head_dim_v: int
    mask: str
    scale: float
    recipe: str
    argument: str
    seed: int
    softcap: float
    has_sink: bool
    descale: tuple[float, float, float]

    @property
    def score_scale(self) -> float:
        """What stored q.k is multiplied by to give a score."""
        return self.scale * self.descale[0] * self.descale[1]


SHAPE = re.compile(r"b(\d+)\.hq(\d+)\.hkv(\d+)\.sq(\d+)\.skv(\d+)\.dqk(\d+)\.dv(\d+)")
SCALARS = re.compile(
    r"scale([-+.\de]+)(?:,softcap([+.\de]+))?(,sink)?(?:,descale\(([^,]+),([^,]+),([^)]+)\))?"
)
RECIPE = re.compile(r"(\w+)(?:\(([^)]*)\))?:(\d+)")


def parse_case(line: str) -> Case:
    """Reads a forward Case; raises ValueError for any other."""
    fields = line.split("/")
    if len(fields) != 8 or fields[0] != "fwd":
        raise ValueError(f"{line}: wanted eight fields, the first of them fwd")
    _, dtype, shape, mask, scale_text, inputs, _, _ = fields
    dims, recipe = SHAPE.fullmatch(shape), RECIPE.fullmatch(inputs)
    scalars = SCALARS.fullmatch(scale_text)
    if not (dims and recipe and scalars):
        raise ValueError(f"{line}: wanted a shape, scaleX and recipe:seed")

    def number(text: str | None, absent: float) -> float:
        if text is None:
            return absent
        return float(text) if dtype == "fp64" else float(np.float32(float(text)))

    scale, softcap, sink, *descale = scalars.groups()
    name, argument, seed = recipe.groups()
    return Case(
        line,
        dtype,
        *map(int, dims.groups()),
        mask,
        number(scale, 1),
        name,
        argument or "",
        int(seed),
        number(softcap, 0),
        sink is not None,
        tuple(number(each, 1) for each in descale),
    )


def read_cases(path: pathlib.Path) -> list[Case]:
    """The Cases of a file: one a line, blank lines and lines that start with # ignored."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [parse_case(line) for line in lines if line and not line.startswith("#")]
