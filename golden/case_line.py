"""Case lines as the NumPy side reads them: the fields it needs.

direction/dtype/shape/mask/scale/inputs:seed/memory/topology, for instance
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


SHAPE = re.compile(r"b(\d+)\.hq(\d+)\.hkv(\d+)\.sq(\d+)\.skv(\d+)\.dqk(\d+)\.dv(\d+)")
RECIPE = re.compile(r"(\w+)(?:\(([^)]*)\))?:(\d+)")


def parse_case(line: str) -> Case:
    """Reads a forward Case without softcap and sink; raises ValueError for any other."""
    fields = line.split("/")
    if len(fields) != 8 or fields[0] != "fwd":
        raise ValueError(f"{line}: wanted eight fields, the first of them fwd")
    _, dtype, shape, mask, scale_text, inputs, _, _ = fields
    dims, recipe = SHAPE.fullmatch(shape), RECIPE.fullmatch(inputs)
    scale_match = re.fullmatch(r"scale([-+.\de]+)", scale_text)
    if not (dims and recipe and scale_match):
        raise ValueError(f"{line}: wanted a shape, scaleX and recipe:seed")
    scale = float(scale_match.group(1))
    if dtype != "fp64":
        scale = float(np.float32(scale))
    name, argument, seed = recipe.groups()
    return Case(line, dtype, *map(int, dims.groups()), mask, scale, name, argument or "", int(seed))


def read_cases(path: pathlib.Path) -> list[Case]:
    """The Cases of a file: one a line, blank lines and lines that start with # ignored."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [parse_case(line) for line in lines if line and not line.startswith("#")]
