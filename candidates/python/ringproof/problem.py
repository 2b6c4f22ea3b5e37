"""One attention problem, as a callable is asked it: the fields of `struct rp_problem`, by name.

S = softmax_scale * q k^T (times descale_q * descale_k for fp8 storage); softcap c > 0 makes it
c * tanh(S / c); hidden keys drop out; a sink logit per query head joins the denominator only.
Lengths, mask and tables are global; with rank_count > 1 the arrays passed beside it are the shards
of `rank`, whose tokens `local_tokens` names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABI_VERSION = 1

# Index = value of the enumeration in candidate_abi.h.
DTYPES = ("default", "fp64", "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "tf32")
MASKS = (
    "full",
    "causal_top_left",
    "causal_bottom_right",
    "window",
    "document",
    "block_sparse",
)
SCHEDULES = ("single", "contiguous", "striped", "zigzag", "head_split", "all_gather")


@dataclass(frozen=True, eq=False)
class Problem:
    """What is asked; `mask`, `dtype` and `schedule` are the words of a Case line."""

    dtype: str  #: storage of q, k and v; out comes back in it (bf16 for fp8)
    mask: str
    batch: int
    heads_q: int
    heads_kv: int
    seqlen_q: int
    seqlen_kv: int
    head_dim_qk: int
    head_dim_v: int
    window_left: int  #: -1 unbounded; both ends count from the bottom-right diagonal, inclusive
    window_right: int
    softmax_scale: float
    softcap: float = 0.0  #: 0 none
    sink: NDArray[np.float32] | None = None  #: heads_q logits
    documents: int = 0
    cu_seqlens_q: NDArray[np.int64] | None = None  #: documents + 1
    cu_seqlens_kv: NDArray[np.int64] | None = None
    document_causal: bool = False
    block_q: int = 0
    block_kv: int = 0
    block_mask: NDArray[np.bool_] | None = None  #: [query tiles, key tiles], True is visible
    descale_q: float = 1.0  #: 1 except for fp8 storage
    descale_k: float = 1.0
    descale_v: float = 1.0
    rank: int = 0
    rank_count: int = 1
    schedule: str = "single"
    head_split_ranks: int = 1
    abi_version: int = ABI_VERSION

    @property
    def dtype_out(self) -> str:
        """What out must come back in."""
        return "bf16" if self.dtype.startswith("fp8") else self.dtype

    @property
    def dtype_lse(self) -> str:
        """What lse must come back in."""
        return "fp64" if self.dtype == "fp64" else "fp32"

    @property
    def shape_out(self) -> tuple[int, int, int, int]:
        """Of this rank's shard."""
        return self.batch, self.heads_q, len(self.local_tokens(self.seqlen_q)), self.head_dim_v

    @property
    def shape_lse(self) -> tuple[int, int, int]:
        return self.batch, self.heads_q, len(self.local_tokens(self.seqlen_q))

    def local_tokens(self, seqlen: int, rank: int | None = None) -> NDArray[np.int64]:
        """The tokens of [0, seqlen) that `rank` (default: this one) owns, in its shard's order.

        Of P ranks, striped: r, r + P, ...; zigzag: pieces r and 2P - 1 - r of 2P; all others piece
        r of P. Piece i of n begins at floor(i * seqlen / n). In a hybrid, head_split_ranks
        consecutive ranks share the runs of one rank of its ring, in consecutive pieces.
        """
        rank = self.rank if rank is None else rank
        ranks, ring_rank, part = self.rank_count, rank, 0
        if self.head_split_ranks > 1:
            ranks //= self.head_split_ranks
            ring_rank, part = divmod(rank, self.head_split_ranks)
        tokens = np.arange(seqlen)
        pieces = [tokens[ring_rank::ranks]] if self.schedule == "striped" else []
        if self.schedule == "zigzag":
            pieces = [_piece(tokens, 2 * ranks, i) for i in (ring_rank, 2 * ranks - 1 - ring_rank)]
        pieces = pieces or [_piece(tokens, ranks, ring_rank)]
        if self.head_split_ranks > 1:
            pieces = [_piece(piece, self.head_split_ranks, part) for piece in pieces]
        return np.concatenate(pieces)

    def visible(self) -> NDArray[np.bool_]:
        """Which key each query sees: [seqlen_q, seqlen_kv], the same for all batches and heads."""
        rows = np.arange(self.seqlen_q)[:, None]
        keys = np.arange(self.seqlen_kv)[None, :]
        if self.mask == "causal_top_left":
            return keys <= rows
        diagonal = rows + self.seqlen_kv - self.seqlen_q
        if self.mask == "causal_bottom_right":
            return keys <= diagonal
        if self.mask == "window":
            left = np.inf if self.window_left < 0 else self.window_left
            right = np.inf if self.window_right < 0 else self.window_right
            return np.asarray((keys >= diagonal - left) & (keys <= diagonal + right))
        if self.mask == "document":
            return self._visible_in_documents()
        if self.mask == "block_sparse":
            assert self.block_mask is not None
            return np.asarray(self.block_mask[rows // self.block_q, keys // self.block_kv])
        return np.ones((self.seqlen_q, self.seqlen_kv), dtype=np.bool_)

    def _visible_in_documents(self) -> NDArray[np.bool_]:
        assert self.cu_seqlens_q is not None and self.cu_seqlens_kv is not None
        visible = np.zeros((self.seqlen_q, self.seqlen_kv), dtype=np.bool_)
        for document in range(self.documents):
            q_begin, q_end = self.cu_seqlens_q[document : document + 2]
            kv_begin, kv_end = self.cu_seqlens_kv[document : document + 2]
            rows = np.arange(q_end - q_begin)[:, None]
            keys = np.arange(kv_end - kv_begin)[None, :]
            last = rows + (kv_end - kv_begin) - (q_end - q_begin)
            inside = keys <= (last if self.document_causal else np.inf)
            visible[q_begin:q_end, kv_begin:kv_end] = inside
        return visible


def _piece(tokens: NDArray[np.int64], pieces: int, index: int) -> NDArray[np.int64]:
    return tokens[len(tokens) * index // pieces : len(tokens) * (index + 1) // pieces]


def problem_of(message: Mapping[str, Any]) -> Problem:
    """The problem of one message of the worker protocol (candidates/protocol.md)."""
    fields = {name: message[name] for name in Problem.__dataclass_fields__ if name in message}
    fields["dtype"] = DTYPES[message["dtype"]]
    fields["mask"] = MASKS[message["mask"]]
    fields["schedule"] = SCHEDULES[message.get("schedule", 0)]
    fields["document_causal"] = bool(message.get("document_causal", 0))
    for name in ("softmax_scale", "softcap", "descale_q", "descale_k", "descale_v"):
        if name in fields:
            fields[name] = float(fields[name])  # "inf" and "nan" come as text
    if message.get("sink") is not None:
        fields["sink"] = np.array([float(logit) for logit in message["sink"]], dtype=np.float32)
    for name in ("cu_seqlens_q", "cu_seqlens_kv"):
        if message.get(name) is not None:
            fields[name] = np.array(message[name], dtype=np.int64)
    if message.get("cu_seqlens_q") is not None:
        fields["documents"] = len(message["cu_seqlens_q"]) - 1
    if fields["mask"] == "block_sparse":
        tiles = (
            math.ceil(message["seqlen_q"] / message["block_q"]),
            math.ceil(message["seqlen_kv"] / message["block_kv"]),
        )
        text = message.get("block_mask") or ""  # null where there are no tiles
        flags = np.frombuffer(text.encode(), dtype=np.uint8) == ord("1")
        fields["block_mask"] = flags.reshape(tiles)
    return Problem(**fields)
