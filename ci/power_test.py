"""Runs `ringproof power` on the fast tier once: a test for every mutant and correct kernel.

RINGPROOF_BIN names the folder of the command.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest
from typing import Any, Callable

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent
RINGPROOF = pathlib.Path(os.environ.get("RINGPROOF_BIN", "build/bin")) / "ringproof"
SCHEMA = json.loads((ROOT / "reports/power.schema.json").read_text())
SMALL = "fwd/fp32/b1.hq2.hkv1.sq20.skv99.dqk16.dv16/causal_bottom_right/scale0.25/gauss:7/bhsd/"


def power(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RINGPROOF), "power", *arguments], capture_output=True, text=True, timeout=1700
    )


def record_of(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, power.json and power.md of a run."""
    with tempfile.TemporaryDirectory() as folder:
        done = power(*arguments, "--out", folder)
        path = pathlib.Path(folder)
        if not (path / "power.json").is_file():
            raise AssertionError(done.stdout + done.stderr)
        record = json.loads((path / "power.json").read_text())
        jsonschema.validate(record, SCHEMA)
        return done.returncode, record, (path / "power.md").read_text()


class TheCommand(unittest.TestCase):
    def test_names_the_checks_that_kill_a_mutant(self) -> None:
        code, record, page = record_of("--mutant", "lse_in_base_2", "--case", SMALL + "single")
        self.assertEqual(code, 0)
        kinds = [(row["name"], row["kind"], row["outcome"]) for row in record["rows"]]
        self.assertEqual(
            kinds,
            [
                ("flash_forward_fp32", "correct", "accepted"),
                ("lse_in_base_2", "mutant", "rejected"),
            ],
        )
        names = [check["name"] for check in record["checks"]]
        self.assertEqual(names, ["bound of lse", "probabilistic bound of lse"])
        self.assertEqual([rule["mutants_caught"] for rule in record["rules"]], [0] * 7)
        self.assertIn("| lse_in_base_2 | 1 |", page)

    def test_ends_with_1_and_a_name_where_a_mutant_survives(self) -> None:
        code, record, _ = record_of("--mutant", "key_1024_dropped", "--case", SMALL + "single")
        self.assertEqual(code, 1)
        row = record["rows"][-1]
        self.assertEqual(
            (row["outcome"], row["as_wanted"], row["cases_differing"]), ("accepted", False, 0)
        )
        said = power("--mutant", "key_1024_dropped", "--case", SMALL + "single").stdout
        self.assertIn("SURVIVES: key_1024_dropped", said)
        self.assertIn("its bits never differ from its specimen's", said)

    def test_refuses_what_it_does_not_know(self) -> None:
        for arguments in (("--mutant", "nobody"), ("--tier", "slow"), ("--case", "fwd/fp32")):
            done = power(*arguments)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertIn("ringproof: ", done.stderr)

    def test_keeps_what_is_done_when_interrupted(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [str(RINGPROOF), "power", "--threads", "1", "--out", folder]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            assert process.stderr is not None
            process.stderr.readline()  # it has begun
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 3, said)
            record = json.loads((pathlib.Path(folder) / "power.json").read_text())
            jsonschema.validate(record, SCHEMA)
            self.assertTrue(record["interrupted"])
            self.assertIn("interrupted after", said)


class TheFastTier(unittest.TestCase):
    """Test methods are added below: one for each mutant of list.txt and each correct kernel."""

    code: int
    record: dict[str, Any]

    @classmethod
    def setUpClass(cls) -> None:
        cls.code, cls.record, _ = record_of()
        cls.rows = {row["name"]: row for row in cls.record["rows"]}

    def test_has_the_mutants_and_kernels_it_is_to_have(self) -> None:
        kinds = [row["kind"] for row in self.record["rows"]]
        self.assertGreaterEqual(kinds.count("mutant"), 60)
        self.assertGreaterEqual(kinds.count("correct"), 12)
        sources = [row["source"] for row in self.record["rows"]]
        self.assertGreaterEqual(sum(source.startswith("gpu/") for source in sources), 10)
        self.assertGreaterEqual(sum(source.startswith("distributed/") for source in sources), 10)

    def test_holds_no_surprise(self) -> None:
        surprises = [row["name"] for row in self.record["rows"] if not row["as_wanted"]]
        self.assertEqual((self.code, surprises), (0, []))

    def test_refuses_no_correct_run(self) -> None:
        self.assertGreater(self.record["correct_runs"], 1000)
        self.assertEqual(self.record["correct_runs_refused"], 0)


def row_test(name: str, kind: str, outcomes: set[str]) -> Callable[[TheFastTier], None]:
    def test(self: TheFastTier) -> None:
        row = self.rows[name]
        self.assertEqual(row["kind"], kind)
        self.assertIn(row["outcome"], outcomes, row["reason"] + " on " + row["first_case"])
        if kind == "mutant":
            self.assertGreater(row["cases_as_wanted"], 0)

    return test


def kernels_of(macro: str) -> list[str]:
    """The names a list macro of unusual.cpp holds."""
    text = (ROOT / "property_tests/correct/unusual.cpp").read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith(f"#define {macro}(X)"))
    return [word[2:-1] for word in line.split() if word.startswith("X(")]


def add_tests() -> None:
    folder = ROOT / "property_tests/mutants"
    names = (folder / "list.txt").read_text().splitlines()
    for name in [name for name in names if name and not name.startswith("#")]:
        ends_in_error = "\nends: error\n" in (folder / f"{name}.mutant").read_text()
        outcomes = {"inconclusive", "rejected"} if ends_in_error else {"rejected"}
        test = row_test(name, "mutant", outcomes)
        setattr(TheFastTier, f"test_mutant_{name}_is_caught", test)
    for name in kernels_of("RINGPROOF_EACH_KERNEL"):
        test = row_test(name, "correct", {"accepted"})
        setattr(TheFastTier, f"test_kernel_{name}_is_accepted", test)


add_tests()

if __name__ == "__main__":
    unittest.main(verbosity=2)
