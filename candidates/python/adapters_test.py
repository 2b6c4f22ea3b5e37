#!/usr/bin/env python3
"""Libraries' attention, judged by the real command: what is installed beside this Python is run.

mlx and onnxruntime are (ci/requirements.txt); the others must say in a sentence that they are not.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from ringproof.adapters import ADAPTERS  # noqa: E402

# Every mask, dtype and feature that some adapter declares, in shapes small enough for seconds.
CASES = """
fwd/fp32/b1.hq4.hkv4.sq33.skv33.dqk16.dv16/full/scale0.25/gauss:1/bhsd/single
fwd/fp32/b1.hq4.hkv4.sq37.skv50.dqk16.dv8/causal_top_left/scale0.25/gauss:2/bshd/single
fwd/fp32/b2.hq4.hkv2.sq37.skv50.dqk16.dv16/causal_bottom_right/scale0.17677669/peaked:3/bhsd/single
fwd/fp32/b1.hq2.hkv2.sq40.skv40.dqk16.dv16/window(7,2)/scale0.25/gauss:4/bhsd+gap3/single
fwd/fp32/b1.hq2.hkv1.sq30.skv44.dqk16.dv16/window(-1,3)/scale0.3/gauss:5/bhsd/single
fwd/fp32/b1.hq2.hkv2.sq20.skv24.dqk9.dv9/document(5+0+15,7+4+13)+causal/scale0.25/gauss:6/thd/single
fwd/fp32/b1.hq2.hkv2.sq20.skv24.dqk16.dv16/block_sparse(4x8,keep0.5:3)/scale0.25/gauss:7/bhsd/single
fwd/fp32/b1.hq4.hkv2.sq20.skv24.dqk16.dv16/full/scale0.25,softcap5/gauss:8/bhsd/single
fwd/fp32/b1.hq4.hkv2.sq20.skv24.dqk16.dv16/full/scale0.25,sink/gauss:9/bhsd/single
fwd/fp32/b1.hq2.hkv2.sq7.skv0.dqk16.dv16/block_sparse(4x4,keep0.5:6)/scale0.25/gauss:426/bhsd/single
fwd/fp16/b1.hq4.hkv2.sq33.skv64.dqk32.dv32/causal_bottom_right/scale0.17677669/gauss:10/bhsd/single
fwd/bf16/b1.hq4.hkv2.sq33.skv64.dqk32.dv32/causal_bottom_right/scale0.125/gauss:11/bhsd/single
""".split()


def is_here(candidate):
    return importlib.util.find_spec(candidate.partition(":")[0]) is not None


def judge(candidate):
    """The command's exit code, what it said, and its records."""
    arguments = [word for case in CASES for word in ("--case", case)]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    with tempfile.TemporaryDirectory() as out:
        run = subprocess.run(
            [RINGPROOF, "gate", "--candidate", candidate, "--out", out, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
        )
        results = pathlib.Path(out) / "results.jsonl"
        lines = results.read_text().splitlines() if results.exists() else []
    return run.returncode, run.stdout + run.stderr, [json.loads(line) for line in lines]


class AdaptersTest(unittest.TestCase):
    def test_what_ci_installs_is_here(self):
        for candidate in ("mlx:sdpa", "onnxruntime:attention"):
            self.assertTrue(is_here(candidate), f"{candidate}: install ci/requirements.txt")

    def test_an_installed_library_is_accepted_on_cases_of_all_it_declares(self):
        for candidate in filter(is_here, ADAPTERS):
            with self.subTest(candidate):
                code, said, records = judge(candidate)
                self.assertEqual(code, 0, said)
                cases = [r for r in records if r["record"] == "case"]
                accepted = {r["case"] for r in cases if r["outcome"] == "accepted"}
                self.assertGreater(len(accepted & set(CASES)), 4, said)
                self.assertIn("note: " + candidate, said)

    def test_a_library_that_is_not_installed_is_named_in_a_sentence(self):
        for candidate in filter(lambda name: not is_here(name), ADAPTERS):
            with self.subTest(candidate):
                _, said, records = judge(candidate)
                self.assertRegex(said, r"is not installed here|cannot be imported here")
                self.assertNotIn("Traceback", said)
                self.assertFalse([r for r in records if r["record"] == "case"])


if __name__ == "__main__":
    unittest.main()
