#!/usr/bin/env python3
"""The pytest plug-in, run by pytest on tests of its own: passed, failed readably, skipped."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
HERE = pathlib.Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples/python"

TESTS = """
from attention_numpy import attention

CASE = "fwd/fp32/b1.hq2.hkv2.sq9.skv11.dqk16.dv16/full/scale0.25/gauss:3/bhsd/single"


def shrunk(q, k, v, problem):
    return attention(q, k, v, problem)[0] * 0.99


def test_rejected(ringproof):
    ringproof.check(shrunk, cases=CASE)


def test_not_here(ringproof):
    ringproof.check("flash_attn:flash_attn_func", cases=CASE)
"""


def pytest_on(path):
    environment = os.environ | {
        "PYTHONPATH": f"{HERE}:{EXAMPLE}",
        "RINGPROOF_BINARY": str(RINGPROOF),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    options = ["-p", "ringproof.pytest_plugin", "-p", "no:cacheprovider", "-rs"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd=path.parent,
    )


class PytestPluginTest(unittest.TestCase):
    def test_the_example_passes(self):
        run = pytest_on(EXAMPLE / "test_attention.py")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("1 passed", run.stdout)

    def test_a_rejection_reads_like_a_failed_assertion_and_what_is_not_here_is_skipped(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "test_mine.py"
            path.write_text(TESTS)
            run = pytest_on(path)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertIn("1 failed, 1 skipped", run.stdout)
        self.assertIn("E       Failed: assert rejected == accepted", run.stdout)
        self.assertIn("worst element: out[", run.stdout)
        self.assertIn("smallest Case that still fails: fwd/fp32/", run.stdout)
        self.assertIn("flash_attn is not installed here", run.stdout)
        self.assertNotIn("server.py", run.stdout)


if __name__ == "__main__":
    unittest.main()
