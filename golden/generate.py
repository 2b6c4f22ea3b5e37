#!/usr/bin/env python3
"""Writes golden/data/small: input bits and answers of the Cases in golden/cases.txt.

Answers are computed in NumPy long double (80 bit) by another formula than the C++ oracle, which
subtracts the row maximum and sums exponentials. Here lse is a balanced tree of
logaddexp(x, y) = max + log1p(exp(-|x - y|)), the weights are exp(S - lse) and need no division,
and every sum is a balanced tree. Inputs that are NaN or infinite count as 0.

Each number is stored as three doubles: value + tail is the long double, and the truth lies
within `error` of it. The error is derived, with u = 2^-64 and libm's expl and log1pl assumed
within 4 ulp (8u relative); enclose.py, which assumes nothing, holds it against proven enclosures:
  score   |dS| <= gamma(depth(d) + 2) |scale| sum_c |q_c k_c|     product, tree of sums, scale
  capped  |dS| <= |dS| + 10 u cap           tanh within 4 ulp, its argument u / 2, product u
  lse     |dL| <= max |dS| + depth(n) u (max |S| + ln n + 15)     log-sum-exp is 1-Lipschitz
  weight  |dw| <= w (expm1(|dS| + |dL| + u |S - L|) + 8u)
  out     |dO| <= sum_j |dw_j v_j| + gamma(depth(n) + 1) sum_j w_j |v_j|
depth(m) = ceil(log2 m); terms of second order are covered by a factor 1 + 2^-20. A step of the tree
of logaddexp loses u |x - y| exp(-|x - y|) + 8u in the exponential, 8u ln 2 in log1p and u |sum| in
the addition: together u (|sum| + 14), second orders included in the 15.

    python golden/generate.py && python golden/enclose.py     writes everything anew
    python golden/generate.py --check                         exits 1 unless every bit is the same
    python golden/generate.py --check --within-error          answers may differ by their errors:
x87 processors of different makers differ in the last bit of exp.
"""
import argparse
import hashlib
import io
import json
import pathlib
import platform
import sys
from typing import Callable

import numpy as np

from case_line import Case, read_cases
from inputs import FOLDER, make_input_bits, sink_logits, to_doubles
from masks import visible

SMALL = FOLDER / "data" / "small"
MANIFEST = SMALL / "manifest.json"
LONG = np.longdouble
U = LONG(2) ** -64
SECOND_ORDER = 1 + LONG(2) ** -20
LIBM = 8 * U


def depth(count: int) -> int:
    """Levels of a balanced tree over `count` leaves."""
    return max(count - 1, 0).bit_length()


def fold(join: Callable, leaves: np.ndarray, neutral: float) -> np.ndarray:
    """A balanced tree of `join` over the last axis; `neutral` joins without any rounding."""
    missing = 2 ** depth(leaves.shape[-1]) - leaves.shape[-1]
    padding = np.full((*leaves.shape[:-1], missing), neutral, dtype=leaves.dtype)
    leaves = np.concatenate([leaves, padding], axis=-1)
    while leaves.shape[-1] > 1:
        half = leaves.shape[-1] // 2
        leaves = join(leaves[..., :half], leaves[..., half:])
    return leaves[..., 0]


def tree_sum(leaves: np.ndarray) -> np.ndarray:
    """Sum over the last axis."""
    return fold(np.add, leaves, 0.0)


def with_error(number: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Doubles (value, tail, error) along a new last axis; value + tail is exactly `number`."""
    value = number.astype(np.float64)
    finite = np.isfinite(number)
    tail = np.where(finite, number - np.where(finite, value, 0), 0).astype(np.float64)
    up = np.nextafter((error * SECOND_ORDER).astype(np.float64), np.inf)
    return np.stack([value, tail, np.where(finite & (error > 0), up, 0.0)], axis=-1)


def scores(case: Case, q: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their errors, [batch, heads_q, seqlen_q, seqlen_kv]."""
    products = q[:, :, :, None, :] * k[:, :, None, :, :]
    scale = LONG(case.scale)
    error = (depth(case.head_dim_qk) + 2) * U * abs(scale) * tree_sum(np.abs(products))
    score = scale * tree_sum(products)
    if case.softcap:
        cap = LONG(case.softcap)
        score, error = cap * np.tanh(score / cap), error + 10 * U * cap
    return score, error


def with_sink(case: Case, leaves: np.ndarray) -> np.ndarray:
    """The leaves over keys, with the sink's logit as one more, where there is one."""
    if not case.has_sink:
        return leaves
    logits = sink_logits(case).astype(LONG)
    sink = np.broadcast_to(logits[None, :, None, None], (*leaves.shape[:-1], 1))
    return np.concatenate([leaves, sink], axis=-1)


def answer(case: Case, bits: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """O and lse as (value, tail, error); an empty row has O = 0, lse = -inf or the sink."""
    group = case.heads_q // case.heads_kv
    q, k, v = (
        np.where(np.isfinite(each), each, 0).astype(LONG) * LONG(descale)
        for each, descale in zip((to_doubles(each, case.dtype) for each in bits), case.descale)
    )
    k, v = (np.repeat(each, group, axis=1) for each in (k, v))
    if case.seqlen_kv == 0:
        rows = (case.batch, case.heads_q, case.seqlen_q)
        return (
            np.zeros((*rows, case.head_dim_v, 3)),
            with_error(
                fold(np.logaddexp, with_sink(case, np.zeros((*rows, 0), dtype=LONG)), -np.inf),
                np.zeros(rows, dtype=LONG),
            ),
        )
    seen = np.broadcast_to(visible(case), (case.batch, case.heads_q, case.seqlen_q, case.seqlen_kv))
    score, score_error = scores(case, q, k)
    leaves = with_sink(case, np.where(seen, score, -np.inf))
    lse = fold(np.logaddexp, leaves, -np.inf)

    largest = np.max(np.where(np.isfinite(leaves), np.abs(leaves), 0), axis=-1)
    step = U * (largest + np.log(LONG(leaves.shape[-1])) + 15)
    lse_error = np.max(np.where(seen, score_error, 0), axis=-1) + depth(leaves.shape[-1]) * step

    exponent = np.where(seen, score - np.where(np.isfinite(lse), lse, 0)[..., None], -np.inf)
    weight = np.exp(exponent)
    argument_error = score_error + lse_error[..., None] + U * np.where(seen, -exponent, 0)
    weight_error = weight * (np.expm1(np.maximum(argument_error, 0)) + LIBM)

    values = np.swapaxes(v, 2, 3)[:, :, None]
    out = tree_sum(weight[:, :, :, None, :] * values)
    sum_error = (depth(case.seqlen_kv) + 1) * U
    out_error = tree_sum((weight_error + weight * sum_error)[:, :, :, None, :] * np.abs(values))
    return with_error(out, out_error), with_error(lse, lse_error)


def npy_bytes(array: np.ndarray) -> bytes:
    """The array as a .npy file, version 1.0."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0))
    return buffer.getvalue()


def files_of(case: Case) -> dict[str, np.ndarray]:
    """What is stored for a Case, by file name."""
    bits = make_input_bits(case)
    out, lse = answer(case, bits)
    names = ("q.npy", "k.npy", "v.npy", "out.npy", "lse.npy")
    return dict(zip(names, (*bits, out, lse)))


def folder_of(index: int) -> str:
    """Folder of the Case at this place of cases.txt."""
    return f"{index:02d}"


def write(cases: list[Case]) -> None:
    """Writes the folder anew. Enclosures of an earlier run are removed: they may not fit."""
    for stale in SMALL.glob("*/*.npy"):
        stale.unlink()
    entries = []
    for index, case in enumerate(cases):
        folder = SMALL / folder_of(index)
        folder.mkdir(parents=True, exist_ok=True)
        hashes = {}
        for name, array in files_of(case).items():
            data = npy_bytes(array)
            (folder / name).write_bytes(data)
            hashes[name] = hashlib.sha256(data).hexdigest()
        entries.append({"line": case.line, "folder": folder.name, "sha256": hashes})
    manifest = {
        "about": "input bits and answers of golden/cases.txt; each answer is (value, tail, error)",
        "error": "derived at the head of golden/generate.py",
        "command": "python golden/generate.py && python golden/enclose.py",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
            "libc": " ".join(platform.libc_ver()),
        },
        "cases": entries,
    }
    write_manifest(manifest)


def write_manifest(manifest: dict) -> None:
    """Writes the manifest, one key a line."""
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n")


def agrees_within_error(stored: np.ndarray, made: np.ndarray) -> bool:
    """Whether two answers differ by no more than their errors together."""
    if stored.shape != made.shape:
        return False
    same = (stored[..., 0] == made[..., 0]) & (stored[..., 1] == made[..., 1])
    with np.errstate(invalid="ignore"):
        apart = np.abs((stored[..., 0] - made[..., 0]) + (stored[..., 1] - made[..., 1]))
    return bool(np.all(same | (apart <= stored[..., 2] + made[..., 2])))


def differences(cases: list[Case], within_error: bool) -> list[str]:
    """One sentence for each stored thing that does not agree with what is computed now."""
    entries = json.loads(MANIFEST.read_text())["cases"]
    found = []
    if [entry["line"] for entry in entries] != [case.line for case in cases]:
        found.append(f"{MANIFEST.name} lists other Cases than cases.txt")
    for index, case in enumerate(cases):
        for name, array in files_of(case).items():
            path = SMALL / folder_of(index) / name
            stored = np.load(path) if path.is_file() else np.empty(0)
            is_answer = name in ("out.npy", "lse.npy")
            same = path.is_file() and path.read_bytes() == npy_bytes(array)
            if not (same or (is_answer and within_error and agrees_within_error(stored, array))):
                found.append(f"{folder_of(index)}/{name} is not what is computed now: {case.line}")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument(
        "--within-error",
        action="store_true",
        help="with --check: answers may differ by their errors",
    )
    options = parser.parse_args(arguments)
    if np.finfo(LONG).nmant != 63:
        print("golden/generate.py needs a machine whose long double has 64 bits", file=sys.stderr)
        return 2
    cases = read_cases(FOLDER / "cases.txt")
    if not options.check:
        write(cases)
        return 0
    found = differences(cases, options.within_error)
    print("\n".join(found) if found else f"{len(cases)} Cases agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
