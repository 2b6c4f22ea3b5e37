"""Which keys each row sees, by the table of contracts: one boolean matrix for every mask."""

import re

import numpy as np

from case_line import Case
from hashing import hashed_bits

UNBOUNDED = 1 << 61
BLOCK_MASK = 7  # the tensor number of a block mask's draws


def band(case: Case, diagonal: int, left: int, right: int) -> np.ndarray:
    """Keys from `left` before the shifted diagonal to `right` behind it."""
    row = np.arange(case.seqlen_q)[:, None] + diagonal
    key = np.arange(case.seqlen_kv)[None, :]
    return (row - left <= key) & (key <= row + right)


def documents(case: Case, lengths_q: str, lengths_kv: str, causal: bool) -> np.ndarray:
    """Keys of the row's own document; causal: those not nearer to its end than the row is."""
    numbers, left = [], []
    for lengths, seqlen in ((lengths_q, case.seqlen_q), (lengths_kv, case.seqlen_kv)):
        counts = [int(length) for length in lengths.split("+")]
        rest = seqlen - sum(counts)
        numbers.append(np.repeat([*range(len(counts)), -1], [*counts, rest]))
        left.append(np.concatenate([np.arange(count)[::-1] for count in (*counts, rest)]))
    seen = (numbers[0][:, None] == numbers[1][None, :]) & (numbers[0] >= 0)[:, None]
    return seen & (left[0][:, None] <= left[1][None, :]) if causal else seen


def blocks(case: Case, block_q: int, block_kv: int, share: float, seed: int) -> np.ndarray:
    """Keys of the tiles whose draw, a number in [0, 1), lies below the share kept."""
    down, across = -(-case.seqlen_q // block_q), -(-case.seqlen_kv // block_kv)
    draw = hashed_bits(seed, BLOCK_MASK, np.arange(down * across).reshape(down, across), 3)
    flags = (draw >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share
    tiles = np.repeat(np.repeat(flags, block_q, axis=0), block_kv, axis=1)
    return tiles[: case.seqlen_q, : case.seqlen_kv]


def visible(case: Case) -> np.ndarray:
    """Which keys each row sees: booleans [seqlen_q, seqlen_kv]."""
    diagonal = case.seqlen_kv - case.seqlen_q
    if case.mask == "full":
        return band(case, 0, UNBOUNDED, UNBOUNDED)
    if case.mask == "causal_top_left":
        return band(case, 0, UNBOUNDED, 0)
    if case.mask == "causal_bottom_right":
        return band(case, diagonal, UNBOUNDED, 0)
    if window := re.fullmatch(r"window\((-?\d+),(-?\d+)\)", case.mask):
        left, right = (UNBOUNDED if int(end) == -1 else int(end) for end in window.groups())
        return band(case, diagonal, left, right)
    if document := re.fullmatch(r"document\(([\d+]+),([\d+]+)\)(\+causal)?", case.mask):
        return documents(case, document[1], document[2], document[3] is not None)
    if block := re.fullmatch(r"block_sparse\((\d+)x(\d+),keep([-+.\de]+):(\d+)\)", case.mask):
        return blocks(case, int(block[1]), int(block[2]), float(block[3]), int(block[4]))
    raise ValueError(f"{case.line}: {case.mask} is not a mask known here")
