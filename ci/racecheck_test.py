"""Runs `ringproof racecheck` as a user does.

RINGPROOF_BIN names the folder of the command.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import unittest

RINGPROOF = pathlib.Path(os.environ.get("RINGPROOF_BIN", "build/bin")) / "ringproof"
ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = "fwd/fp32/b1.hq1.hkv1.sq70.skv99.dqk8.dv8/full/scale1/gauss:7/bhsd/single"


def racecheck(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RINGPROOF), "racecheck", *arguments], capture_output=True, text=True, timeout=900
    )


def synchronisations_in_the_sources() -> set[str]:
    """file:line of every synchronisation that stands in a kernel's source."""
    words = r"\b(__syncthreads|__syncwarp|barrier_(sync|arrive)|cp_async_(commit|wait<[^>]*>))\s*\("
    return {
        f"{path.name}:{number}"
        for path in (ROOT / "gpu").glob("*.cuh")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(words, line.split("//")[0])
    }


class TestRacecheck(unittest.TestCase):
    def test_no_kernel_races_and_every_synchronisation_is_needed_or_explained(self) -> None:
        done = racecheck("all")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        dropped = re.findall(r"^  (\S+:\d+) [^:]+: (?:needed|redundant: .+)$", done.stdout, re.M)
        self.assertEqual(set(dropped), synchronisations_in_the_sources())
        self.assertRegex(
            done.stdout,
            r"flash_forward_fp32: no race in \d+ cases, [1-9]\d* synchronisations needed, "
            r"\d+ proven redundant",
        )

    def test_a_dropped_synchronisation_shows_both_lines_of_a_race(self) -> None:
        unknown = racecheck("flash_forward_fp32", "--case", SMALL, "--without", "nowhere.cuh:1")
        self.assertEqual(unknown.returncode, 2, unknown.stdout)
        places = re.findall(r"flash_forward_fp32\.cuh:\d+", unknown.stderr)
        self.assertTrue(places, unknown.stderr)
        for place in places:
            done = racecheck("flash_forward_fp32", "--case", SMALL, "--without", place)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertRegex(done.stdout, r"\.cuh:\d+.*: thread \d+ .* at \S+\.cuh:\d+")

    def test_bad_input_gets_one_sentence(self) -> None:
        for arguments, part in (
            (["no_such"], "there is no kernel 'no_such'; there are flash_forward_fp32"),
            ([], "--help"),
            (["flash_forward_fp32", "--case", "nonsense"], "nonsense"),
            (["flash_forward_fp32", "--case", SMALL.replace("fp32", "bf16")], "bf16"),
            (["flash_forward_fp32", "--without", "here"], "file:line"),
        ):
            done = racecheck(*arguments)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertIn(part, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_help_has_examples(self) -> None:
        done = racecheck("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("ringproof racecheck all", done.stdout)


if __name__ == "__main__":
    unittest.main()
