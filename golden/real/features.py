"""What kind of attention a stored layer holds: the statistics that manifest.json reports.

    p = softmax(scale q k' + mask) in float64, on the stored fp16 values; per head, over queries:
    largest    mean of the largest probability of a query
    first_key  mean of the probability of key 0
    same_key   largest share of queries whose most probable key is one and the same key
    spread     mean of exp(entropy) / keys visible: the share of its keys a query uses (1: uniform)

A majority names a head: *sink* if same_key > 1/2 (most queries look at one key), *one_hot* if
largest > 1/2 without being a sink (queries look at one key each, at different ones), *diffuse* if
spread > 1/2. A head may have no name, or two. NumPy only: the test of the stored data runs this
without the packages the data were made with.
"""

import numpy as np

DIGITS = 4


def probabilities(q: np.ndarray, k: np.ndarray, scale: float, mask: str) -> np.ndarray:
    """[heads, queries, keys] in float64; query head h reads key head h // (heads / kv heads)."""
    q, k = q.astype(np.float64), k.astype(np.float64)
    logits = scale * (q @ k.repeat(len(q) // len(k), 0).swapaxes(1, 2))
    logits = np.where(visible(mask, *logits.shape[1:]), logits, -np.inf)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def visible(mask: str, queries: int, keys: int) -> np.ndarray:
    if mask == "full":
        return np.ones((queries, keys), dtype=bool)
    assert mask == "causal_top_left", f"unknown mask {mask}"
    return np.tri(queries, keys, dtype=bool)


def describe(q: np.ndarray, k: np.ndarray, scale: float, mask: str) -> dict[str, str | list[int]]:
    """Per statistic the rounded numbers of all heads, in order; per name the heads that bear it."""
    p = probabilities(q, k, scale, mask)
    keys = visible(mask, *p.shape[1:]).sum(-1)
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
    same_key = [np.bincount(row).max() / len(row) for row in p.argmax(-1)]
    values = {
        "largest": p.max(-1).mean(-1),
        "first_key": p[:, :, 0].mean(-1),
        "same_key": np.array(same_key),
        "spread": (np.exp(entropy) / keys).mean(-1),
    }
    sink = values["same_key"] > 1 / 2
    named = {
        "sink_heads": sink,
        "one_hot_heads": (values["largest"] > 1 / 2) & ~sink,
        "diffuse_heads": values["spread"] > 1 / 2,
    }
    rounded = {name: " ".join(f"{x:.{DIGITS}f}" for x in value) for name, value in values.items()}
    return rounded | {name: np.flatnonzero(heads).tolist() for name, heads in named.items()}
