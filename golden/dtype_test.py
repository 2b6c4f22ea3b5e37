#!/usr/bin/env python3
"""Holds the C++ storage formats against NumPy and ml_dtypes, bit for bit (NaN equals NaN).

ml_dtypes converts a double through fp32, which rounds twice: 1 + 2^-8 + 2^-40 becomes 1 in bf16
where one rounding gives 1 + 2^-7. So doubles are first cut to fp32 with the last bit set where
anything was lost (round to odd): what ml_dtypes then does to that fp32 number is one correct
rounding of the double, because fp32 keeps at least two bits more than any of these formats.
"""
import os
import pathlib
import subprocess
import unittest

import ml_dtypes
import numpy as np

from inputs import round_to_odd_float32_bits

DUMP = pathlib.Path(os.environ.get("RINGPROOF_BIN", "build/bin")) / "ringproof_dtype_dump"
FLOAT_TYPE = {"fp64": np.float64, "fp32": np.float32, "fp16": np.float16,
              "bf16": ml_dtypes.bfloat16, "fp8_e4m3": ml_dtypes.float8_e4m3fn,
              "fp8_e5m2": ml_dtypes.float8_e5m2}
NARROW = ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2")
COUNT_RANDOM = 1_000_000


def bits_type(dtype: str) -> np.dtype:
    """The unsigned integer as wide as the format."""
    return np.dtype(f"u{np.dtype(FLOAT_TYPE[dtype]).itemsize}")


def dump(verb: str, dtype: str, data: np.ndarray, out_type: np.dtype) -> np.ndarray:
    """What the C++ makes of `data`."""
    done = subprocess.run([str(DUMP), verb, dtype], input=data.tobytes(), capture_output=True,
                          check=True)
    return np.frombuffer(done.stdout, dtype=out_type)


def all_bits(dtype: str) -> np.ndarray:
    """Every bit pattern of a narrow format."""
    kind = bits_type(dtype)
    return np.arange(1 << (8 * kind.itemsize), dtype=np.uint32).astype(kind)


def widened(bits: np.ndarray, dtype: str) -> np.ndarray:
    """The doubles that NumPy or ml_dtypes reads in stored bits."""
    with np.errstate(invalid="ignore"):
        return bits.view(FLOAT_TYPE[dtype]).astype(np.float64)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Bits of doubles rounded once by NumPy or ml_dtypes."""
    with np.errstate(all="ignore"):
        if dtype in ("fp64", "fp32", "fp16"):
            return values.astype(FLOAT_TYPE[dtype]).view(bits_type(dtype))
        odd = round_to_odd_float32_bits(values).view(np.float32)
        return odd.astype(FLOAT_TYPE[dtype]).view(bits_type(dtype))


def is_nan(bits: np.ndarray, dtype: str) -> np.ndarray:
    """Which stored bits are NaN, by the library's own reading."""
    return np.isnan(widened(bits, dtype))


def random_doubles(dtype: str, seed: int) -> np.ndarray:
    """A million doubles: every exponent of a double, those around the format, raw bits."""
    draw = np.random.default_rng(seed)
    third = COUNT_RANDOM // 3
    info = ml_dtypes.finfo(FLOAT_TYPE[dtype])
    least, most = np.log2(float(info.smallest_subnormal)) - 4, np.log2(float(info.max)) + 4
    raw = draw.integers(0, 1 << 64, third, dtype=np.uint64).view(np.float64)
    signs = draw.choice([-1.0, 1.0], COUNT_RANDOM - third)
    low = np.concatenate([np.full(third, -1074.0),
                          np.full(COUNT_RANDOM - 2 * third, max(least, -1074.0))])
    high = np.where(low < least, 1023.0, min(most, 1023.0))
    return np.concatenate([raw, signs * np.exp2(draw.uniform(low, high))])


def halfway_doubles(dtype: str, seed: int) -> np.ndarray:
    """Points exactly between neighbours of the format, the doubles next to them, and a little off.

    The last is where rounding twice, through fp32, goes wrong. The neighbour of the largest finite
    number is what would come next if the exponent went on.
    """
    if dtype == "fp32":
        draw = np.random.default_rng(seed)
        bits = draw.integers(0, 1 << 31, 100_000, dtype=np.uint32)
        bits = np.concatenate([bits, np.arange(0, 1000, dtype=np.uint32),
                               np.uint32(0x7F7FFFFF) - np.arange(1000, dtype=np.uint32),
                               np.uint32(0x00800000) + np.arange(-500, 500).astype(np.uint32)])
        lower = widened(bits, dtype)
    else:
        lower = widened(all_bits(dtype), dtype)
    lower = lower[np.isfinite(lower) & (lower >= 0)]
    info = ml_dtypes.finfo(FLOAT_TYPE[dtype])
    ulp = np.exp2(np.floor(np.log2(np.maximum(lower, float(info.smallest_normal)))))
    middle = lower + ulp * float(info.eps) / 2
    near = [middle, np.nextafter(middle, np.inf), np.nextafter(middle, 0),
            middle * (1 + 2.0**-40), middle * (1 - 2.0**-40)]
    points = np.concatenate(near)
    return np.concatenate([points, -points])


class DtypeTest(unittest.TestCase):
    def expect_same(self, got: np.ndarray, want: np.ndarray, dtype: str, source: np.ndarray):
        self.assertEqual(got.shape, want.shape)
        differs = (got != want) & ~(is_nan(got, dtype) & is_nan(want, dtype))
        at = np.flatnonzero(differs)[:3]
        shown = [f"{source[i]!r}: want {want[i]:#x}, got {got[i]:#x}" for i in at]
        self.assertEqual(np.count_nonzero(differs), 0, f"{dtype}: {shown}")

    def test_every_narrow_bit_pattern_widens_as_numpy_reads_it(self):
        for dtype in NARROW:
            bits = all_bits(dtype)
            got = dump("load", dtype, bits, np.dtype(np.float64))
            self.expect_same(got.view("u8"), widened(bits, dtype).view("u8"), "fp64", bits)

    def test_every_narrow_number_survives_load_and_store(self):
        for dtype in NARROW:
            bits = all_bits(dtype)
            got = dump("store", dtype, widened(bits, dtype), bits_type(dtype))
            self.expect_same(got, bits, dtype, bits)

    def test_random_fp32_bits_widen_as_numpy_reads_them(self):
        draw = np.random.default_rng(5)
        bits = draw.integers(0, 1 << 32, COUNT_RANDOM, dtype=np.uint32)
        got = dump("load", "fp32", bits, np.dtype(np.float64))
        self.expect_same(got.view("u8"), widened(bits, "fp32").view("u8"), "fp64", bits)

    def test_a_million_random_doubles_round_as_numpy_rounds_them(self):
        for seed, dtype in enumerate(("fp32", *NARROW)):
            values = random_doubles(dtype, seed)
            self.assertEqual(len(values), COUNT_RANDOM)
            got = dump("store", dtype, values, bits_type(dtype))
            self.expect_same(got, rounded(values, dtype), dtype, values)

    def test_points_halfway_between_neighbours_go_to_the_even_one(self):
        for seed, dtype in enumerate(("fp32", *NARROW)):
            values = halfway_doubles(dtype, seed)
            got = dump("store", dtype, values, bits_type(dtype))
            self.expect_same(got, rounded(values, dtype), dtype, values)

    def test_round_to_is_store_then_load(self):
        for seed, dtype in enumerate(("fp64", "fp32", *NARROW)):
            points = [] if dtype == "fp64" else [halfway_doubles(dtype, seed)]
            values = np.concatenate([random_doubles(dtype, 10 + seed), *points])
            got = dump("round", dtype, values, np.dtype(np.float64))
            want = widened(rounded(values, dtype), dtype)
            self.expect_same(got.view("u8"), want.view("u8"), "fp64", values)

    def test_ml_dtypes_rounds_a_double_twice_so_the_detour_is_needed(self):
        value = np.array([1 + 2.0**-8 + 2.0**-40])
        self.assertEqual(float(value.astype(ml_dtypes.bfloat16)[0]), 1.0)
        self.assertEqual(float(rounded(value, "bf16").view(ml_dtypes.bfloat16)[0]), 1 + 2.0**-7)


if __name__ == "__main__":
    unittest.main()
