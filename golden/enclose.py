#!/usr/bin/env python3
"""Encloses O and lse of golden Cases with Arb's ball arithmetic (python-flint).

A ball is a midpoint and a radius; every operation widens the radius by all that rounding can have
done, so the truth lies in the ball whatever the precision. Input bits are read as exact integers
times powers of two. With 300 bits the balls are far narrower than a double's last bit.

The smallest Cases get enclosure_out.npy and enclosure_lse.npy: doubles (value, tail, radius) along
the last axis, the truth lying in [value + tail - radius, value + tail + radius]. All Cases, small
or not, are held against the long double answers of generate.py: these must lie within their own
derived error of the enclosure. Run after generate.py; exits 1 where one does not.
"""
import hashlib
import itertools
import json
import math
import sys

import flint
import numpy as np

from case_line import Case, read_cases
from generate import MANIFEST, SMALL, npy_bytes, write_manifest
from inputs import FOLDER, shapes, sink_logits
from masks import visible

PRECISION_BITS = 300
COUNT_STORED = 26
FORMATS = {
    "fp64": (11, 52),
    "fp32": (8, 23),
    "fp16": (5, 10),
    "bf16": (8, 7),
    "fp8_e4m3": (4, 3),
    "fp8_e5m2": (5, 2),
}


def exact(bits: int, dtype: str) -> flint.arb:
    """The number that stored bits mean, exactly."""
    exponent_bits, fraction_bits = FORMATS[dtype]
    fraction = bits & ((1 << fraction_bits) - 1)
    exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1)
    finite = dtype == "fp8_e4m3" and fraction != (1 << fraction_bits) - 1
    if exponent == (1 << exponent_bits) - 1 and not finite:
        raise ValueError("an infinity or NaN has no enclosure")
    significand = fraction + (1 << fraction_bits) if exponent else fraction
    power = max(exponent, 1) - ((1 << (exponent_bits - 1)) - 1) - fraction_bits
    magnitude = flint.arb((significand, power))
    return -magnitude if bits >> (exponent_bits + fraction_bits) else magnitude


def matrix(bits: np.ndarray, dtype: str) -> flint.arb_mat:
    """Stored bits [rows, columns] as an exact matrix."""
    return flint.arb_mat([[exact(int(each), dtype) for each in row] for row in bits])


def row_answer(score: list, v: flint.arb_mat, sink: list) -> tuple[list, flint.arb]:
    """O and lse of a row from the scores of its visible keys (at least one), their values, and the
    sink's logit or nothing."""
    shift = score[0].mid()
    weight = [(each - shift).exp() for each in score]
    total = sum(weight, flint.arb(0)) + sum([(each - shift).exp() for each in sink], flint.arb(0))
    out = flint.arb_mat([weight]) * v
    return [out[0, column] / total for column in range(v.ncols())], shift + total.log()


def capped(case: Case, score: flint.arb) -> flint.arb:
    """The score after softcap."""
    cap = flint.arb(case.softcap)
    return cap * (score / cap).tanh() if case.softcap else score


def head_balls(
    case: Case, q: np.ndarray, k: np.ndarray, v: np.ndarray, sink: list
) -> tuple[list, list]:
    """Balls of one head: O [seqlen_q][head_dim_v] and lse [seqlen_q]; None where an
    empty row has no sink."""
    product = matrix(q, case.dtype) * matrix(k, case.dtype).transpose()
    descale_q, descale_k, descale_v = (flint.arb(each) for each in case.descale)
    scale = flint.arb(case.scale) * descale_q * descale_k
    values = [[exact(int(each), case.dtype) * descale_v for each in row] for row in v]
    outs, lses = [], []
    for row, seen in enumerate(visible(case)):
        keys = [int(key) for key in np.flatnonzero(seen)]
        if not keys:
            outs.append([flint.arb(0)] * case.head_dim_v)
            lses.append(sink[0] if sink else None)
            continue
        score = [capped(case, scale * product[row, key]) for key in keys]
        out, lse = row_answer(score, flint.arb_mat([values[key] for key in keys]), sink)
        outs.append(out)
        lses.append(lse)
    return outs, lses


def upper_double(ball: flint.arb) -> float:
    """A double no smaller than the ball's magnitude."""
    bound = float(ball.abs_upper())
    while flint.arb(bound) < ball.abs_upper():
        bound = math.nextafter(bound, math.inf)
    return bound


def as_doubles(ball: flint.arb | None) -> list[float]:
    """(value, tail, radius) of a ball; -inf for None, the lse of an empty row."""
    if ball is None:
        return [-math.inf, 0.0, 0.0]
    value = float(ball.mid())
    tail = float((ball - value).mid())
    return [value, tail, upper_double(ball - value - tail)]


def balls_of(case: Case, bits: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Balls of every element: arrays of objects shaped as O and lse."""
    out = np.empty((case.batch, case.heads_q, case.seqlen_q, case.head_dim_v), dtype=object)
    lse = np.empty(out.shape[:3], dtype=object)
    if case.seqlen_kv == 0 or case.seqlen_q == 0:
        out[...], lse[...] = flint.arb(0), None
        for head in range(case.heads_q if case.has_sink else 0):
            lse[:, head] = flint.arb(float(sink_logits(case)[head]))
        return out, lse
    for batch, head in itertools.product(range(case.batch), range(case.heads_q)):
        head_kv = head // (case.heads_q // case.heads_kv)
        sink = [flint.arb(float(sink_logits(case)[head]))] if case.has_sink else []
        outs, lses = head_balls(
            case, bits[0][batch, head], bits[1][batch, head_kv], bits[2][batch, head_kv], sink
        )
        out[batch, head] = outs
        lse[batch, head] = lses
    return out, lse


def outside(balls: np.ndarray, stored: np.ndarray) -> tuple[int, float]:
    """How many stored (value, tail, error) are not proven to hold the truth, and the largest share
    |stored - truth| / error, the ball's radius included."""
    count, share_max = 0, 0.0
    for ball, (value, tail, error) in zip(balls.flat, stored.reshape(-1, 3)):
        if ball is None or error == 0:
            is_equal = value == -math.inf if ball is None else ball == flint.arb(value)
            count += not is_equal
            continue
        apart = (ball - value - tail).abs_upper()
        count += not apart <= flint.arb(error)
        share_max = max(share_max, float(apart / flint.arb(error)))
    return count, share_max


def error_in_units(balls: np.ndarray, stored: np.ndarray, bits: list, case: Case) -> float:
    """Largest |stored - truth| of O in units of 2^-64 max |V|, V over the head's keys."""
    if case.seqlen_kv == 0 or case.seqlen_q == 0:
        return 0.0
    v_max = max(abs(float(exact(int(each), case.dtype))) for each in np.unique(bits[2]))
    apart = [
        float((ball - value - tail).abs_upper())
        for ball, (value, tail, _) in zip(balls.flat, stored.reshape(-1, 3))
    ]
    return max(apart) / v_max * 2.0**64


def work(case: Case) -> int:
    """Multiplications of a Case, by which the smallest are chosen."""
    keys = case.batch * case.heads_q * case.seqlen_q * case.seqlen_kv
    return keys * (case.head_dim_qk + case.head_dim_v)


def smallest(cases: list[Case]) -> set[int]:
    """Places of the smallest Cases that have something to enclose."""
    order = sorted(range(len(cases)), key=lambda index: (work(cases[index]), index))
    return set([index for index in order if work(cases[index]) > 0][:COUNT_STORED])


def read_bits(folder: str, case: Case) -> list[np.ndarray]:
    """Stored bits of q, k and v."""
    bits = [np.load(SMALL / folder / f"{name}.npy") for name in "qkv"]
    if tuple(each.shape for each in bits) != shapes(case):
        raise ValueError(f"{folder}: stored inputs have other shapes than {case.line}")
    return bits


def store_enclosure(entry: dict, name: str, balls: np.ndarray) -> None:
    """Writes one enclosure and its hash."""
    array = np.array([as_doubles(ball) for ball in balls.flat]).reshape(*balls.shape, 3)
    data = npy_bytes(array)
    (SMALL / entry["folder"] / name).write_bytes(data)
    entry["sha256"][name] = hashlib.sha256(data).hexdigest()


def main() -> int:
    flint.ctx.prec = PRECISION_BITS
    cases = read_cases(FOLDER / "cases.txt")
    manifest = json.loads(MANIFEST.read_text())
    stored, count_outside, share_max = smallest(cases), 0, 0.0
    for index, (case, entry) in enumerate(zip(cases, manifest["cases"], strict=True)):
        bits = read_bits(entry["folder"], case)
        report = []
        for name, balls in zip(("out", "lse"), balls_of(case, bits)):
            answer = np.load(SMALL / entry["folder"] / f"{name}.npy")
            count, share = outside(balls, answer)
            count_outside += count
            share_max = max(share_max, share)
            report.append(f"{name} error used {share:.3f}" + (f", {count} OUTSIDE" * bool(count)))
            if name == "out":
                report.append(f"{error_in_units(balls, answer, bits, case):.2f} x 2^-64 max|V|")
            if index in stored:
                store_enclosure(entry, f"enclosure_{name}.npy", balls)
        mark = "enclosed" if index in stored else "compared"
        print(f"{entry['folder']} {mark}: {'; '.join(report)}  {case.line}", flush=True)
    manifest["versions"]["python-flint"] = flint.__version__
    manifest["enclosures"] = {
        "precision_bits": PRECISION_BITS,
        "long_double_answers_outside_their_error": count_outside,
        "largest_share_of_that_error_used": round(share_max, 3),
    }
    write_manifest(manifest)
    return 1 if count_outside else 0


if __name__ == "__main__":
    sys.exit(main())
