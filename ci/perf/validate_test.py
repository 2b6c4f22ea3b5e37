"""The gate's own trials: which comes next, what they say, and one real one on made-up builds."""

import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

import validate

HERE = pathlib.Path(__file__).resolve().parent
# Writes one metric whose time is known, longer by what it is asked to repeat.
BUILD = """#!/bin/sh
repeat=0
while [ $# -gt 0 ]; do
  case $1 in --repeat) repeat=$2; shift ;; --json) out=$2; shift ;; esac
  shift
done
awk -v seed=$$ -v repeat=$repeat -v out="$out" 'BEGIN { srand(seed);
  printf "{\\"benchmarks\\": [{\\"name\\": \\"forward a b\\", \\"real_time\\": %f, " \\
    "\\"time_unit\\": \\"ms\\"}]}\\n", 10 * (1 + repeat) * (1 + 0.002 * rand()) > out }'
"""


def trial(condition="idle", slowdown=1.0, code=0, outcome="same"):
    return {
        "condition": condition,
        "slowdown": slowdown,
        "code": code,
        "rounds": 15,
        "seconds": 6.0,
        "ratios": [{"outcome": outcome}],
    }


class Trials(unittest.TestCase):
    def test_every_slowdown_has_its_share_whenever_the_trials_end(self):
        trials = []
        while (slowdown := validate.next_trial(trials, "idle")) is not None:
            trials.append(trial(slowdown=slowdown))
            if len(trials) == 95:
                counts = [
                    sum(one["slowdown"] == s for one in trials) for s in (1.0, 1.03, 1.05, 1.1)
                ]
                self.assertEqual(counts, [50, 15, 15, 15])
        self.assertEqual(len(trials), 190)
        self.assertEqual(validate.next_trial(trials, "load"), 1.0)

    def test_one_false_alarm_or_a_missed_slowdown_misses_the_goals(self):
        for trials, is_met in (
            ([trial()] * 99 + [trial(code=3)], True),
            ([trial()] * 99 + [trial(code=1, outcome="slower")], False),
            ([trial("load", code=1, outcome="slower")], False),
            ([trial(slowdown=1.05, code=1)] * 27 + [trial(slowdown=1.05)] * 3, True),
            ([trial(slowdown=1.05, code=1)] * 26 + [trial(slowdown=1.05)] * 4, False),
            ([trial(slowdown=1.10, code=1)] * 29 + [trial(slowdown=1.10)], False),
            ([trial(slowdown=1.03)] * 30, True),
        ):
            self.assertEqual(all(row.is_met for row in validate.rows_of(trials)), is_met)


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        self.build = self.path / "ringproof"
        self.build.write_text(BUILD)
        self.build.chmod(self.build.stat().st_mode | stat.S_IEXEC)
        self.file = self.path / "trials.jsonl"

    def validate(self, *arguments):
        return subprocess.run(
            [sys.executable, str(HERE / "validate.py"), "--file", str(self.file), *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )

    def test_a_slowdown_that_builds_make_is_found_and_none_is_not(self):
        for slowdown, code in ((1.0, 0), (1.1, 1)):
            left = [trial(slowdown=s) for s, n in validate.TRIALS["idle"].items() for _ in range(n)]
            left.remove(trial(slowdown=slowdown))
            self.file.write_text("".join(json.dumps(one) + "\n" for one in left))
            done = self.validate("--command", str(self.build), "--minutes", "5")
            last = json.loads(self.file.read_text().splitlines()[-1])
            self.assertEqual((last["slowdown"], last["code"]), (slowdown, code), done.stderr)
            self.assertIn("| idle | none (A/A) | 100 | 0 |", done.stdout)

    def test_bad_input_is_one_sentence(self):
        self.file.write_text("{}\n")
        for file, words in ((self.file, "trials.jsonl:1"), (self.path / "none", "holds no trial")):
            done = self.validate("--table", "--file", str(file))
            self.assertEqual(done.returncode, 2)
            self.assertIn(words, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1)


if __name__ == "__main__":
    unittest.main()
