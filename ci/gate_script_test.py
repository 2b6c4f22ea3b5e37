"""The gate script itself must fail when a kernel is wrong: a canary goes in, exit code 1 comes out.

Runs ci/gate.sh of the source tree, whose build folder is build/; a build elsewhere cannot test it.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASE = "fwd/fp32/b1.hq1.hkv1.sq33.skv33.dqk16.dv16/causal_top_left/scale0.25/gauss:3/bhsd/single"


def gate_script(candidate: str, report: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "bash",
            str(ROOT / "ci/gate.sh"),
            "--candidate",
            candidate,
            "--case",
            CASE,
            "--out",
            report,
        ],
        capture_output=True,
        text=True,
        timeout=1700,
    )


@unittest.skipUnless(
    pathlib.Path(os.environ.get("RINGPROOF_BIN", "")).resolve() == (ROOT / "build/bin").resolve(),
    "not run: built elsewhere than build/",
)
class TestGateScript(unittest.TestCase):
    def test_the_canary_makes_the_gate_script_fail(self) -> None:
        with tempfile.TemporaryDirectory() as report:
            done = gate_script("canary", report)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("canary: rejected", done.stdout)
            page = (pathlib.Path(report) / "report.html").read_text()
            self.assertIn("rejected", page)

    def test_a_correct_kernel_passes_the_gate_script(self) -> None:
        with tempfile.TemporaryDirectory() as report:
            done = gate_script("flash_forward_fp32", report)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for name in ("results.jsonl", "junit.xml", "report.html"):
                self.assertTrue((pathlib.Path(report) / name).stat().st_size > 0, name)


if __name__ == "__main__":
    unittest.main()
