"""Input bits of a Case in NumPy, from the formulas that reference/spec/inputs.cpp opens with.

Everything is 64-bit integer arithmetic and correctly rounded doubles, then one rounding to
storage: the same bits come out on every machine and in every language.
"""

import pathlib

import numpy as np

from case_line import Case
from hashing import hashed_bits
from masks import visible

FOLDER = pathlib.Path(__file__).resolve().parent
PRECISION = {"fp64": 53, "fp32": 24, "fp16": 11, "bf16": 8, "fp8_e4m3": 4, "fp8_e5m2": 3}
LEAST_EXPONENT = {"fp64": -1074, "fp32": -149, "fp16": -24, "bf16": -133}  # of a subnormal
LEAST_EXPONENT |= {"fp8_e4m3": -9, "fp8_e5m2": -16}
LARGEST = {"fp16": 65504.0, "fp8_e4m3": 448.0, "fp8_e5m2": 57344.0}  # the others reach 2^100
BITS_TYPE = {
    "fp64": "<u8",
    "fp32": "<u4",
    "fp16": "<u2",
    "bf16": "<u2",
    "fp8_e4m3": "|u1",
    "fp8_e5m2": "|u1",
}
FP8 = {"fp8_e4m3": (-6, 3), "fp8_e5m2": (-14, 2)}  # least exponent, fraction bits
NO_NUMBER = {"fp8_e4m3": (0x7F, 0x7F), "fp8_e5m2": (0x7E, 0x7C)}  # quiet NaN, infinity
Q, K, V, SINK = 0, 1, 2, 5
GAUSS_SCALE = 0.1765469659009499


def elements(shape: tuple[int, ...]) -> np.ndarray:
    """The index of every element of a dense tensor."""
    return np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)


def gauss(seed: int, tensor: int, index: np.ndarray) -> np.ndarray:
    """N(0, 1) draws of the elements of these indices, as doubles."""
    words = [hashed_bits(seed, tensor, index, word) for word in range(3)]
    ones = np.bitwise_count(words[0]).astype(np.float64) + np.bitwise_count(words[1])
    uniform = ((words[2] >> np.uint64(24)).astype(np.float64) + 0.5) * 2.0**-40 - 0.5
    return (ones - 64.0 + uniform) * GAUSS_SCALE


def round_to_odd_float32_bits(values: np.ndarray) -> np.ndarray:
    """Bits of doubles cut to fp32, with the last bit set where anything was lost.

    Rounding that to fewer bits, to nearest, equals rounding the double itself: one rounding.
    """
    with np.errstate(over="ignore", under="ignore"):
        nearest = values.astype(np.float32)
    bits = nearest.view(np.uint32)
    too_far = np.abs(nearest.astype(np.float64)) > np.abs(values)
    cut = np.where(too_far, bits - np.uint32(1), bits)
    inexact = np.isfinite(values) & (nearest.astype(np.float64) != values)
    return np.where(inexact, cut | np.uint32(1), cut)


def to_fp8_bits(values: np.ndarray, dtype: str) -> np.ndarray:
    """Bits of doubles rounded to fp8, to nearest, ties to even. No finite number overflows here."""
    exponent_min, fraction_bits = FP8[dtype]
    special = np.where(np.isnan(values), *NO_NUMBER[dtype])
    finite, sign = np.isfinite(values), np.where(np.signbit(values), 0x80, 0)
    values = np.where(finite, values, 0.0)
    exponent = np.where(values == 0, exponent_min, np.frexp(values)[1].astype(np.int64) - 1)
    exponent = np.maximum(exponent, exponent_min)
    significand = np.rint(np.ldexp(np.abs(values), fraction_bits - exponent)).astype(np.int64)
    one = 1 << fraction_bits
    bits = ((exponent - exponent_min + 1) << fraction_bits) + significand - one
    return (np.where(finite, bits, special) + sign).astype("|u1")


def to_bits(values: np.ndarray, dtype: str) -> np.ndarray:
    """Bits of doubles rounded to a storage dtype, to nearest, ties to even; NaN is a quiet NaN."""
    if dtype in FP8:
        return to_fp8_bits(values, dtype)
    if dtype == "bf16":
        wide = round_to_odd_float32_bits(values)
        wide = wide + np.uint32(0x7FFF) + ((wide >> np.uint32(16)) & np.uint32(1))
        return (wide >> np.uint32(16)).astype("<u2")
    float_type = {"fp64": np.float64, "fp32": np.float32, "fp16": np.float16}[dtype]
    return values.astype(float_type).view(BITS_TYPE[dtype])


def to_doubles(bits: np.ndarray, dtype: str) -> np.ndarray:
    """The doubles that stored bits mean; an infinity of fp8 as NaN."""
    if dtype in FP8:
        exponent_min, fraction_bits = FP8[dtype]
        magnitude = bits.astype(np.int64) & 0x7F
        exponent = magnitude >> fraction_bits
        fraction = magnitude & ((1 << fraction_bits) - 1)
        significand = fraction + np.where(exponent > 0, 1 << fraction_bits, 0)
        power = np.maximum(exponent, 1) - 1 + exponent_min - fraction_bits
        numbers = np.where(bits & 0x80, -1.0, 1.0) * np.ldexp(significand.astype(np.float64), power)
        return np.where(magnitude < NO_NUMBER[dtype][1], numbers, np.nan)
    if dtype == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    float_type = {"fp64": np.float64, "fp32": np.float32, "fp16": np.float16}[dtype]
    return bits.view(float_type).astype(np.float64)


def shapes(case: Case) -> tuple[tuple[int, ...], ...]:
    """Shapes of q, k and v."""
    return (
        (case.batch, case.heads_q, case.seqlen_q, case.head_dim_qk),
        (case.batch, case.heads_kv, case.seqlen_kv, case.head_dim_qk),
        (case.batch, case.heads_kv, case.seqlen_kv, case.head_dim_v),
    )


def codes(case: Case, keys: np.ndarray) -> np.ndarray:
    """+-1 codes of key indices along a new last axis: their bits, repeated as often as they fit."""
    width = max(1, max(case.seqlen_kv - 1, 0).bit_length())
    used = case.head_dim_qk // width * width
    column = np.arange(case.head_dim_qk)
    bit = (keys[..., None] >> (column % width)) & 1
    return np.where(column < used, 1.0 - 2.0 * bit, 0.0)


def exact_magnitude(case: Case) -> float:
    """The power of two that puts the target key 40 above every other, with the scale's sign."""
    width = max(1, max(case.seqlen_kv - 1, 0).bit_length())
    wanted = 40.0 / (2.0 * (case.head_dim_qk // width) * abs(case.score_scale))
    fraction, exponent = np.frexp(wanted)
    power = float(np.ldexp(1.0, exponent - 1 if fraction == 0.5 else exponent))
    return power if case.score_scale > 0 else -power


def exact(case: Case) -> list[np.ndarray]:
    """Small integers: each row gives one key, drawn among those it sees, all the weight."""
    shape_q, shape_k, shape_v = shapes(case)
    row = elements(shape_q[:3])
    seen = visible(case)
    count = np.maximum(seen.sum(axis=1), 1).astype(np.uint64)
    place = (hashed_bits(case.seed, Q, row, 3) % count).astype(np.int64)
    in_order = np.argsort(~seen, axis=1, kind="stable")  # what a row sees first, ascending
    target = in_order[np.arange(case.seqlen_q), place] if case.seqlen_kv else place
    key = np.broadcast_to(np.arange(case.seqlen_kv), shape_k[:3])
    v = 1.0 + (hashed_bits(case.seed, V, elements(shape_v), 3) % np.uint64(61)).astype(np.float64)
    return [exact_magnitude(case) * codes(case, target), codes(case, key), v]


def uniform_probe_v(case: Case) -> np.ndarray:
    """Index-coded values in [-1, 1], all different in what they say of batch, head, key, column."""
    b, h, s, c = np.meshgrid(*map(np.arange, shapes(case)[2]), indexing="ij")
    code = (2 * c + 1) * s + 37 * c + 101 * h + 59 * b + case.seed % 257
    return (code % 257 - 128) / 128.0


def walsh_probe_v(case: Case) -> np.ndarray:
    """Ones in column 0, then +-1 by the bits of the key's index."""
    _, _, s, c = np.meshgrid(*map(np.arange, shapes(case)[2]), indexing="ij")
    bit = np.where((c >= 1) & (c <= 63), (s >> np.clip(c - 1, 0, 62)) & 1, 0)
    return 1.0 - 2.0 * bit


def first_column(case: Case) -> np.ndarray:
    """Column 0 of k where q_0 = 2: peaked, sink, slopes and near ties, [batch, heads_kv, keys]."""
    shape = shapes(case)[1][:3]
    drawn = hashed_bits(case.seed, K, elements(shape), 3)
    key = np.broadcast_to(np.arange(case.seqlen_kv, dtype=np.float64), shape)
    length = max(case.seqlen_kv, 1)
    if case.recipe == "near_ties":
        ulp = 2.0 ** (1 - PRECISION[case.dtype])
        return 1.0 + (drawn % np.uint64(4)).astype(np.float64) * ulp
    if case.recipe == "sink":
        nats = 0.7 * float(case.seqlen_kv.bit_length()) + 2.0
        return np.where(key == 0, nats / (2.0 * case.score_scale), 0.0)
    if case.recipe == "peaked":
        nats = 8.0 * key / length - 4.0 + np.where(drawn < np.uint64(1 << 59), 2.0, 0.0)
    else:
        nats = (4.0 * key / length - 2.0) * (1.0 if case.recipe == "ascending" else -1.0)
    return nats / (2.0 * case.score_scale)


def moved_keys(case: Case, tensor: int, from_key: np.ndarray) -> np.ndarray:
    """Gauss draws of k or v, each key taking those of another key."""
    return gauss(case.seed, tensor, elements(shapes(case)[tensor]))[:, :, from_key]


def outlier(case: Case) -> list[np.ndarray]:
    """Gauss, and one element in a thousand with ten times another gauss on top."""
    made = []
    for tensor, shape in enumerate(shapes(case)):
        index = elements(shape)
        ordinary = gauss(case.seed, tensor, index)
        far = ordinary + 10.0 * gauss(case.seed, tensor, index + (1 << 48))
        is_far = hashed_bits(case.seed, tensor, index, 3) < np.uint64((1 << 64) // 1000)
        made.append(np.where(is_far, far, ordinary))
    return made


def special_elements(case: Case, tensor: int, values: np.ndarray) -> np.ndarray:
    """Subnormals, signed zeros and, in v, large numbers among gauss draws."""
    e = hashed_bits(case.seed, tensor, elements(values.shape), 3)
    kind, sign = e % np.uint64(64), np.where(e >> np.uint64(63), -1.0, 1.0)
    drawn = e // np.uint64(64) % np.uint64(2 ** (PRECISION[case.dtype] - 1) - 1)
    subnormal = sign * np.ldexp(1.0 + drawn.astype(np.float64), LEAST_EXPONENT[case.dtype])
    values = np.where(kind < 2, subnormal, np.where((kind == 2) | (kind == 3), sign * 0.0, values))
    if tensor != V:
        return values
    column = np.arange(values.shape[-1])
    large = (kind == 4) & (column % 4 == 2)
    values = np.where(large, sign * LARGEST.get(case.dtype, 2.0**100), values)
    return np.where(column == 0, subnormal, np.where(column == 1, sign * 0.0, values))


def special(case: Case, made: list[np.ndarray]) -> list[np.ndarray]:
    """Gauss with what is no ordinary number; NaN and infinity in few rows, keys and columns."""
    has_infinity = case.dtype != "fp8_e4m3"
    q, k, v = (special_elements(case, tensor, values) for tensor, values in enumerate(made))
    e = hashed_bits(case.seed, Q, elements(q.shape[:3]) + (1 << 48), 3)
    infinity = np.where(e >> np.uint64(63), -np.inf, np.inf)
    column = e // np.uint64(64) % np.uint64(case.head_dim_qk)
    there = np.arange(case.head_dim_qk) == column[..., None]
    kind = (e % np.uint64(16))[..., None]
    q = np.where(there & (kind == 0), np.nan, q)
    q = np.where(there & (kind == 1) & has_infinity, infinity[..., None], q)
    for head in range(case.batch * case.heads_kv if case.seqlen_kv else 0):
        word = [int(hashed_bits(case.seed, K, np.array(head + (1 << 48)), w)) for w in range(4)]
        kind = (head + case.seed % 5) % 5
        if kind == 0 or (kind >= 3 and not has_infinity):
            continue
        tensor = k if kind % 2 == 1 else v
        place = (*divmod(head, case.heads_kv), word[0] % case.seqlen_kv, word[1] % tensor.shape[3])
        tensor[place] = np.nan if kind < 3 else (-np.inf if word[3] >> 63 else np.inf)
    return [q, k, v]


def real(case: Case) -> list[np.ndarray]:
    """The first tokens of stored activations."""
    lengths = (case.seqlen_q, case.seqlen_kv, case.seqlen_kv)
    made = []
    for name, length, shape in zip("qkv", lengths, shapes(case)):
        stored = np.load(FOLDER / "data" / "real" / f"{case.argument}.{name}.npy")
        cut = stored[None, :, :length, :].astype(np.float64)
        if cut.shape != shape:
            raise ValueError(f"{case.line}: {name} of {case.argument} is {cut.shape}, not {shape}")
        made.append(cut)
    return made


def structured(case: Case, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """Recipes that change some columns or keys of gauss draws."""
    key = np.arange(case.seqlen_kv)
    half = case.seqlen_kv // 2
    if case.recipe == "large_offset":
        q[..., 0] = 16.0
        k[..., 0] = float(case.argument) / (16.0 * case.score_scale)
    elif case.recipe == "duplicated":
        k, v = moved_keys(case, K, key % 4), np.abs(v)
    elif case.recipe == "cancelling":
        from_key = np.where((key >= half) & (key < 2 * half), key - half, key)
        sign = np.where(key < half, 1.0, np.where(key < 2 * half, -1.0, 0.0))
        k, v = moved_keys(case, K, from_key), moved_keys(case, V, from_key) * sign[:, None]
    elif case.recipe in ("peaked", "sink", "ascending", "descending", "near_ties"):
        if case.recipe == "near_ties":
            k = moved_keys(case, K, 0 * key)
        elif case.recipe in ("ascending", "descending"):
            k /= 8.0
        elif case.recipe == "sink":
            v[:, :, :1] /= 64.0
        q[..., 0] = 2.0
        k[..., 0] = first_column(case)
    elif case.recipe != "gauss":
        raise ValueError(f"{case.line}: {case.recipe} is not a recipe known here")
    return [q, k, v]


def make_doubles(case: Case) -> list[np.ndarray]:
    """q, k and v before rounding to storage."""
    if case.recipe == "real":
        return real(case)
    if case.recipe == "exact":
        return exact(case)
    if case.recipe == "outlier":
        return outlier(case)
    q, k, v = (
        gauss(case.seed, tensor, elements(shape)) for tensor, shape in enumerate(shapes(case))
    )
    if case.recipe == "uniform_probe":
        return [np.zeros_like(q), np.zeros_like(k), uniform_probe_v(case)]
    if case.recipe == "walsh_probe":
        return [np.zeros_like(q), k, walsh_probe_v(case)]
    if case.recipe == "head_coded":
        head = np.arange(case.batch * case.heads_kv).reshape(case.batch, case.heads_kv, 1, 1)
        return [q, k, np.broadcast_to(1.0 + head % 127, v.shape).copy()]
    if case.recipe == "special":
        return special(case, [q, k, v])
    return structured(case, q, k, v)


def make_input_bits(case: Case) -> list[np.ndarray]:
    """Stored bits of q, k and v: dense [batch, heads, sequence, dim]."""
    return [to_bits(values, case.dtype) for values in make_doubles(case)]


def sink_logits(case: Case) -> np.ndarray:
    """The sink's logits, one a query head: draws rounded to fp32, as doubles."""
    draws = gauss(case.seed, SINK, np.arange(case.heads_q))
    return draws.astype(np.float32).astype(np.float64)
