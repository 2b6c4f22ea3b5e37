"""Rings that nobody here wrote, as candidates on a CPU: `python:rings:NAME`, run from this folder.

Each function takes its rank's shards and returns its shard. The libraries ask for CUDA in three
places, and these alone are replaced: the flash kernel by PyTorch's flash attention for CPUs, NCCL
by gloo, and modules that only code for a GPU imports (triton, transformers, flax) by empty ones.
Everything a ring does itself (who sends what to whom, which blocks meet, how partial results are
merged) is the library's own.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import ringproof

_MERGED_LERP = ringproof.Arithmetic(merge_is_lerp=True)
# Blocks come back from the kernel in the storage dtype before they are merged; the CPU's flash
# kernel is off by 5.34e-5 in the lse of a lone score of 0 where storage has 16 bits.
_MERGED_IN_BF16 = ringproof.Arithmetic(
    merge_is_lerp=True, partial_dtype="bf16", exp_error_relative=2.0**-13
)


def _torch() -> Any:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return torch


def _flash_of_cpu(q: Any, k: Any, v: Any, scale: float, causal: bool) -> tuple[Any, Any]:
    """[batch, sequence, heads, dim] in and out, lse [batch, heads, sequence], as flash-attn's."""
    torch = _torch()
    group = q.shape[2] // k.shape[2]
    k, v = (t.repeat_interleave(group, dim=2) for t in (k, v))
    q, k, v = (t.transpose(1, 2).contiguous() for t in (q, k, v))
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = flash(q, k, v, 0.0, causal, scale=scale)
    return out.transpose(1, 2).contiguous(), lse.float()


def _stand_in(name: str, **names: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(names)
    module.__path__ = []  # type: ignore[attr-defined]
    module.__getattr__ = _attribute  # type: ignore[method-assign]
    sys.modules.setdefault(name, module)


def _attribute(word: str) -> Any:
    if word.startswith("__"):
        raise AttributeError(word)
    return _Anything()


class _Anything:
    """A decorator, a base class, a type: whatever an importing module wants of it."""

    def __call__(self, *given: Any, **_: Any) -> Any:
        return given[0] if given else self

    def __getattr__(self, _: str) -> Any:
        return self

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return (object,)


def _ring_flash_attn() -> Any:
    torch = _torch()

    def forward(
        q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1),
        softcap=0.0, alibi_slopes=None, return_softmax=False,
    ):  # fmt: skip
        # Lengths are equal wherever a causal mask is asked: top left is bottom right.
        assert not causal or q.shape[1] == k.shape[1]
        out, lse = _flash_of_cpu(q, k, v, softmax_scale, causal)
        return out, lse, None, None

    _stand_in("flash_attn")
    _stand_in(
        "flash_attn.flash_attn_interface", _flash_attn_forward=forward, _flash_attn_backward=None
    )
    for name in ("triton", "triton.language", "ring_flash_attn.triton_utils"):
        _stand_in(name)
    _stand_in("ring_flash_attn.adapters")
    import ring_flash_attn.ring_flash_attn
    import ring_flash_attn.stripe_flash_attn
    import ring_flash_attn.zigzag_ring_flash_attn

    return ring_flash_attn, torch


def _described(schedules: Any, masks: Any, **more: Any) -> Any:
    fields: dict[str, Any] = {
        "dtypes": ["fp32", "bf16"],
        "features": ["grouped_heads", "writes_lse"],
        "array": "torch",
        "contiguous": True,
        "arithmetic": _MERGED_LERP,
        "arithmetic_of": {"bf16": _MERGED_IN_BF16},
    }
    return ringproof.describe(schedules=schedules, masks=masks, **(fields | more))


def _is_causal(problem: Any) -> bool:
    if problem.seqlen_q != problem.seqlen_kv:
        raise ringproof.Unsupported("this ring takes as many keys as rows")
    pieces = problem.rank_count * (2 if problem.schedule == "zigzag" else 1)
    if problem.seqlen_q % pieces:
        raise ringproof.Unsupported(f"this ring takes lengths that {pieces} divides")
    return problem.mask != "full"


_MASKS = ["full", "causal_top_left", "causal_bottom_right"]
_CAUSAL = _MASKS[1:]


def _run_ring_flash(name: str, file: str, q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    library, torch = _ring_flash_attn()
    causal = _is_causal(problem)
    ring = getattr(getattr(library, file), name)
    q, k, v = (t.transpose(1, 2).contiguous() for t in (q, k, v))
    out, lse = ring(None, q, k, v, problem.softmax_scale, causal=causal)
    return out.transpose(1, 2).contiguous(), lse.contiguous()


@_described("contiguous", _MASKS)
def ring_flash_attn(q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    return _run_ring_flash("ring_flash_attn_forward", "ring_flash_attn", q, k, v, problem)


@_described("zigzag", _CAUSAL)
def zigzag_ring_flash_attn(q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    file = "zigzag_ring_flash_attn"
    return _run_ring_flash("zigzag_ring_flash_attn_forward", file, q, k, v, problem)


@_described("striped", _CAUSAL)
def stripe_flash_attn(q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    return _run_ring_flash("stripe_flash_attn_forward", "stripe_flash_attn", q, k, v, problem)


def _context_parallel(q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    torch = _torch()
    from torch.distributed.tensor.experimental._context_parallel import _attention

    causal = _is_causal(problem)
    _attention._cp_options.enable_load_balance = problem.schedule == "zigzag"
    group = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
    out, lse, *_ = _attention._templated_ring_attention(
        torch.distributed.group.WORLD,
        2,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
        q.contiguous(),
        k.contiguous(),
        v.contiguous(),
        is_causal=causal,
        dropout_p=0.0,
        scale=problem.softmax_scale,
    )
    return out.to(q.dtype).contiguous(), lse.float().contiguous()


@_described("contiguous", _MASKS)
def context_parallel(q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    return _context_parallel(q, k, v, problem)


@_described("zigzag", _CAUSAL)
def context_parallel_balanced(q: Any, k: Any, v: Any, problem: Any) -> tuple[Any, Any]:
    return _context_parallel(q, k, v, problem)


def _ring_attention_pytorch(q: Any, k: Any, v: Any, problem: Any) -> Any:
    _torch()
    from ring_attention_pytorch.ring_flash_attention import ring_flash_attn as ring

    causal = _is_causal(problem)
    if problem.softmax_scale != problem.head_dim_qk**-0.5:
        raise ringproof.Unsupported("the scale is not 1 / sqrt(d)")
    q, k, v = (t.transpose(1, 2).contiguous() for t in (q, k, v))
    return ring(q, k, v, None, causal, 16, True).transpose(1, 2)


_OF_RING_ATTENTION: dict[str, Any] = {
    "dtypes": "fp32",
    "features": "grouped_heads",
    "arithmetic": ringproof.Arithmetic(),
}
_ITS_SCALE = "its scale is 1 / sqrt(d); other Cases are refused"


@_described("contiguous", _MASKS, **_OF_RING_ATTENTION, notes=[_ITS_SCALE])
def ring_attention_pytorch(q: Any, k: Any, v: Any, problem: Any) -> Any:
    return _ring_attention_pytorch(q, k, v, problem).contiguous()


_REORDERED = "query heads are reordered: it gives head i the kv head i mod heads_kv"


@_described("contiguous", _MASKS, **_OF_RING_ATTENTION, notes=[_ITS_SCALE, _REORDERED])
def ring_attention_pytorch_reordered(q: Any, k: Any, v: Any, problem: Any) -> Any:
    # Head i of its queries takes kv head i mod heads_kv; here heads of a group lie together.
    group = q.shape[1] // k.shape[1]
    q = q.unflatten(1, (-1, group)).transpose(1, 2).flatten(1, 2)
    out = _ring_attention_pytorch(q, k, v, problem)
    return out.unflatten(1, (group, -1)).transpose(1, 2).flatten(1, 2).contiguous()


@ringproof.describe(
    dtypes="fp32",
    masks=_MASKS,
    features=["forward_deterministic"],
    array="jax",
    contiguous=True,
    notes=["its scale is 1 / sqrt(d); four host devices are its ranks, in one process"],
)
def ringattention(q: Any, k: Any, v: Any, problem: Any) -> Any:
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, PartitionSpec

    for name in ("flax", "flax.linen"):
        _stand_in(name)
    jax.lib.xla_bridge = _Anything()  # asked whether this is a TPU
    from ringattention.ringattention_jax import ring_attention as ring

    causal = _is_causal(problem)
    if problem.seqlen_q % 4 or problem.softmax_scale != problem.head_dim_qk**-0.5:
        raise ringproof.Unsupported("lengths that 4 divides and a scale of 1 / sqrt(d)")
    rows = problem.seqlen_q // 4
    blockwise = {
        "causal_block_size": 1 if causal else None, "deterministic": True, "dropout_rng": None,
        "attn_pdrop": 0.0, "query_chunk_size": rows, "key_chunk_size": rows, "dtype": jnp.float32,
        "policy": jax.checkpoint_policies.nothing_saveable, "precision": None, "prevent_cse": True,
    }  # fmt: skip
    mesh = Mesh(jax.devices("cpu"), ("sp",))
    shard = PartitionSpec(None, "sp")

    def local(q: Any, k: Any, v: Any) -> Any:
        return ring(q, k, v, None, None, None, "sp", True, blockwise)

    specs = {"mesh": mesh, "in_specs": (shard,) * 3, "out_specs": shard, "check_vma": False}
    q, k, v = (t.swapaxes(1, 2) for t in (q, k, v))
    return jax.shard_map(local, **specs)(q, k, v).swapaxes(1, 2)
