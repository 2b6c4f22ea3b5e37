"""Ringproof judges attention kernels; from Python, `check(fn)` judges a callable of yours.

    import ringproof

    def attention(q, k, v, problem):
        ...
        return out

    verdict = ringproof.check(attention)

`fn(q, k, v, problem)` gets NumPy arrays [batch, heads, sequence, dim] (or those of PyTorch, JAX,
CuPy) and returns out, or (out, lse). `describe` says which dtypes, masks and features it wants to
be asked.
"""

from ringproof.arrays import dtype_of
from ringproof.binary import NoBinary, binary
from ringproof.check import check
from ringproof.description import (
    Arithmetic,
    BadInput,
    Description,
    NotHere,
    Unsupported,
    describe,
)
from ringproof.problem import Problem
from ringproof.verdict import CaseTrouble, Element, Verdict

__all__ = [
    "Arithmetic",
    "BadInput",
    "CaseTrouble",
    "Description",
    "Element",
    "NoBinary",
    "NotHere",
    "Problem",
    "Unsupported",
    "Verdict",
    "binary",
    "check",
    "describe",
    "dtype_of",
]
