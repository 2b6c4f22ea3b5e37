"""Counts false alarms: a run of every correct kernel on some fast Cases, and planted ones.

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
from typing import Any

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent
RINGPROOF = pathlib.Path(os.environ.get("RINGPROOF_BIN", "build/bin")) / "ringproof"
SCHEMA = json.loads((ROOT / "reports/alarms.schema.json").read_text())
SMALL = (
    "fwd/fp32/b1.hq2.hkv1.sq20.skv99.dqk16.dv16/causal_bottom_right/scale0.25/gauss:7/bhsd/single"
)
# Rows enough for the noise figure and the bias of every kernel.
MANY_ROWS = (
    "fwd/bf16/b1.hq2.hkv1.sq120.skv150.dqk32.dv32/causal_bottom_right/scale0.17677669/gauss:7/"
    "bhsd/single"
)
SEEDS_PER_ROUND = 1 << 20
KERNELS = 40


def count(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, alarms.json and what was said."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(RINGPROOF), "power", *arguments, "--out", folder],
            capture_output=True,
            text=True,
            timeout=1700,
        )
        path = pathlib.Path(folder) / "alarms.json"
        if not path.is_file():
            raise AssertionError(done.stdout + done.stderr)
        record = json.loads(path.read_text())
    jsonschema.validate(record, SCHEMA)
    return done.returncode, record, done.stdout


def cases(lines: list[str]) -> list[str]:
    return [word for line in lines for word in ("--case", line)]


def some_fast_cases() -> list[str]:
    """About fourteen, evenly over the file, and MANY_ROWS; not the long real activations."""
    lines = (ROOT / "ci/cases/fast.txt").read_text().splitlines()
    lines = [line for line in lines if line.startswith("fwd/") and "/real(" not in line]
    return [*lines[3 :: len(lines) // 14], MANY_ROWS]


class CorrectKernels(unittest.TestCase):
    def test_none_is_rejected_or_left_undecided(self) -> None:
        lines = some_fast_cases()
        code, record, said = count("--false-alarms", str(KERNELS), *cases(lines))
        self.assertEqual((code, record["alarms"]), (0, []), said)
        kernels = record["kernels"]
        self.assertGreaterEqual(len(kernels), KERNELS, "every kernel runs once: count them anew")
        self.assertEqual(len(kernels), len(set(kernels)))
        self.assertEqual((record["runs_done"], record["interrupted"]), (KERNELS, False))
        self.assertGreater(record["judgements"], 5 * KERNELS)
        seen = {(one["check"], one["over"]) for one in record["largest"]}
        for check in ("bias of out", "noise figure of out"):
            for over in ("one Case", "one run", "all runs of a kernel"):
                self.assertIn((check, over), seen)
        for check in ("bound of out", "bound of lse", "probabilistic bound of out"):
            self.assertIn((check, "one Case"), seen)
        for one in record["largest"]:
            self.assertLessEqual(one["used"], 1, one)


class PlantedAlarms(unittest.TestCase):
    def test_are_found_in_every_round_and_only_there(self) -> None:
        code, record, said = count(
            "--false-alarms", "4", "--mutant", "lse_in_base_2", "--case", SMALL
        )
        self.assertEqual((code, record["runs_done"]), (1, 4))
        self.assertEqual(record["kernels"], ["flash_forward_fp32", "lse_in_base_2"])
        self.assertEqual({alarm["kernel"] for alarm in record["alarms"]}, {"lse_in_base_2"})
        found = [alarm["case"] for alarm in record["alarms"] if "bound of lse" in alarm["checks"]]
        moved = SMALL.replace("gauss:7", f"gauss:{7 + SEEDS_PER_ROUND}")
        self.assertEqual(list(dict.fromkeys(found)), [SMALL, moved])
        self.assertIn("FALSE ALARM: lse_in_base_2, fp32: rejected by bound of lse", said)
        self.assertIn(f"--kernel lse_in_base_2 --case '{SMALL}'", said)

    def test_of_pooled_checks_are_found(self) -> None:
        shape = "b1.hq1.hkv1.sq90.skv200.dqk32.dv32"
        lines = [
            f"fwd/bf16/{shape}/full/scale0.17677669/gauss:{seed}/bhsd/single"
            for seed in range(40, 52)
        ]
        code, record, said = count(
            "--false-alarms", "2", "--mutant", "accumulator_in_storage_dtype", *cases(lines)
        )
        pooled = [alarm for alarm in record["alarms"] if alarm["case"] == ""]
        self.assertEqual(code, 1, said)
        self.assertEqual(
            [alarm["kernel"] for alarm in pooled], ["accumulator_in_storage_dtype"], said
        )

    def test_of_nan_stand_among_the_largest(self) -> None:
        code, record, said = count(
            "--false-alarms", "3", "--mutant", "answer_never_written", "--case", MANY_ROWS
        )
        largest = {(one["check"], one["over"]): one for one in record["largest"]}
        self.assertEqual((code, largest["bound of out", "one Case"]["used"]), (1, "inf"), said)
        for check in ("bias of out", "noise figure of out"):
            self.assertEqual(largest[check, "one Case"]["used"], "nan", said)
            self.assertEqual(largest[check, "one Case"]["kernel"], "answer_never_written")


class TheCommand(unittest.TestCase):
    def test_leaves_real_activations_as_they_are(self) -> None:
        shape = "b1.hq12.hkv12.sq128.skv128.dqk32.dv32"
        line = f"fwd/fp16/{shape}/full/scale0.17677669/real(minilm.5):0/bhsd/single"
        _, record, _ = count("--false-alarms", "2", "--kernel", "ring:double", "--case", line)
        seen = {one["case"] for one in record["largest"] if one["over"] == "one Case"}
        self.assertEqual((seen, record["kernels"]), ({line}, ["ring:double"]))

    def test_refuses_what_it_does_not_know(self) -> None:
        for arguments, word in (
            (("--false-alarms", "1", "--kernel", "nobody"), "nobody"),
            (("--false-alarms", "1", "--mutant", "nobody"), "nobody"),
            (("--kernel", "ring:double"), "--false-alarms"),
            (("--false-alarms", "0"), "--false-alarms"),
        ):
            done = subprocess.run(
                [str(RINGPROOF), "power", *arguments], capture_output=True, text=True, timeout=60
            )
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertIn(word, done.stderr)

    def test_keeps_what_is_done_when_interrupted(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [str(RINGPROOF), "power", "--false-alarms", "300", "--out", folder]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            assert process.stderr is not None
            process.stderr.readline()  # it has begun
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 3, said)
            record = json.loads((pathlib.Path(folder) / "alarms.json").read_text())
        jsonschema.validate(record, SCHEMA)
        self.assertEqual((record["runs_asked"], record["interrupted"]), (300, True))
        self.assertIn("interrupted after", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
