"""ONNX Attention (opset 23) and com.microsoft MultiHeadAttention, on onnxruntime's CPU provider.

What core/providers/cpu/llm/attention.cc and contrib_ops/cpu/bert say: both products in fp32 (fp16
storage is widened where the machine has no fp16 product), scores and probabilities written in the
storage dtype, probabilities normalised before they meet V. A hidden key is the type's least finite
number, added to its score: a row that sees nothing is the mean of all values. Softcap comes before
the mask (since onnxruntime 1.27). Neither gives an lse. Scale must be positive.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ringproof.adapters import onnx_model
from ringproof.arrays import Array
from ringproof.description import Arithmetic, Description, NotHere
from ringproof.problem import MASKS, Problem
from ringproof.server import Callee

_NOTES = (
    "q, k, v are copied dense; one session per shape of the graph, one thread",
    "without a key or a query it refuses: zeros are returned in its place",
)


def attention() -> Callee:
    """`onnxruntime:attention`."""
    runtime = _runtime()

    def run(q: Array, k: Array, v: Array, problem: Problem) -> Array:
        if 0 in (*q.shape, *k.shape):
            return np.zeros(problem.shape_out, dtype=q.dtype)
        is_causal = problem.mask == "causal_top_left"
        feed = {"q": q, "k": k, "v": v}
        if not is_causal and problem.mask != "full":
            feed["mask"] = problem.visible()
        attributes = (
            ("is_causal", int(is_causal)),
            ("scale", float(problem.softmax_scale)),
            ("softcap", float(problem.softcap)),
        )
        return _call(runtime, "Attention", "", 23, ("q", "k", "v", "mask"), feed, attributes)

    return Callee(run, _named(runtime, ATTENTION))


def multi_head_attention() -> Callee:
    """`onnxruntime:multi_head_attention`."""
    runtime = _runtime()

    def run(q: Array, k: Array, v: Array, problem: Problem) -> Array:
        if 0 in (*q.shape, *k.shape):
            return np.zeros(problem.shape_out, dtype=q.dtype)
        is_causal = problem.mask == "causal_top_left" and problem.seqlen_q == problem.seqlen_kv
        feed = {"q": _hidden(q), "k": _hidden(k), "v": _hidden(v)}
        if not is_causal and problem.mask != "full":
            least = np.finfo(np.float32).min
            feed["bias"] = np.where(problem.visible(), 0, least).astype(np.float32)[None, None]
        attributes = (
            ("num_heads", problem.heads_q),
            ("scale", float(problem.softmax_scale)),
            ("unidirectional", int(is_causal)),
        )
        names = ("q", "k", "v", "", "", "bias")
        out = _call(runtime, "MultiHeadAttention", "com.microsoft", 1, names, feed, attributes)
        split = (problem.batch, problem.seqlen_q, problem.heads_q, problem.head_dim_v)
        return np.ascontiguousarray(out.reshape(split).swapaxes(1, 2))

    return Callee(run, _named(runtime, MULTI_HEAD_ATTENTION))


ATTENTION = Description(
    dtypes=("fp32", "fp16"),
    masks=MASKS,
    features=("grouped_heads", "softcap", "unequal_head_dims"),
    arithmetic=Arithmetic(p_is_normalised=True),
    arithmetic_of={"fp16": Arithmetic(p_is_normalised=True, score_dtype="fp16")},
    notes=(
        *_NOTES,
        "causal_top_left is is_causal; every other mask goes as a Boolean array",
    ),
)
MULTI_HEAD_ATTENTION = Description(
    dtypes=("fp32",),
    masks=MASKS,
    features=("unequal_head_dims",),
    arithmetic=Arithmetic(p_is_normalised=True),
    notes=(
        *_NOTES,
        "[batch, sequence, heads * dim] in and out, transposed here",
        "causal_top_left of equal lengths is unidirectional; every other mask goes as "
        "attention_bias, 0 or the least fp32",
    ),
)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise NotHere("onnxruntime is not installed here; pip install onnxruntime") from None
    return onnxruntime


def _named(runtime: Any, description: Description) -> Description:
    return dataclasses.replace(description, name=f"onnxruntime {runtime.__version__}")


def _hidden(array: Array) -> Array:
    """[batch, heads, sequence, dim] as [batch, sequence, heads * dim]."""
    batch, heads, length, dim = array.shape
    return np.ascontiguousarray(array.swapaxes(1, 2)).reshape(batch, length, heads * dim)


_ELEMENT = {"float32": onnx_model.FLOAT, "float16": onnx_model.FLOAT16, "bool": onnx_model.BOOL}


def _call(
    runtime: Any,
    op: str,
    domain: str,
    opset: int,
    names: Sequence[str],
    feed: dict[str, Array],
    attributes: tuple[tuple[str, float], ...],
) -> Array:
    inputs = tuple(
        (name, _ELEMENT[feed[name].dtype.name]) if name in feed else None for name in names
    )
    while inputs[-1] is None:
        inputs = inputs[:-1]
    kind = _ELEMENT[feed["q"].dtype.name]
    session = _session(runtime, op, domain, opset, inputs, kind, attributes)
    out: Array = session.run(None, {name: np.ascontiguousarray(x) for name, x in feed.items()})[0]
    return out


@functools.lru_cache(maxsize=64)
def _session(
    runtime: Any,
    op: str,
    domain: str,
    opset: int,
    inputs: tuple[tuple[str, int] | None, ...],
    kind: int,
    attributes: tuple[tuple[str, float], ...],
) -> Any:
    model = onnx_model.one_node(op, domain, opset, inputs, ("out", kind), dict(attributes))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
