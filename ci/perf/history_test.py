"""Runs made apart and their history, through the command: what is compared, kept, and refused."""

import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest

import history as history_module

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
CASE = "fwd/fp32/b1.hq1.hkv1.sq4.skv4.dqk8.dv8/full/scale0.5/gauss:1/bhsd/single"
METRIC = f"forward flash_forward_fp32 {CASE}"


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)

    def run_file(self, name, time_ms, seed=1, cpu="one", commit="c0", metric=METRIC, count=15):
        draw = random.Random(seed)
        times = [time_ms * (1 + draw.gauss(0, 0.004)) for _ in range(count)]
        rows = [{"name": metric + "/manual_time", "real_time": t, "time_unit": "ms"} for t in times]
        file = self.path / name
        context = {"cpu": cpu, "ringproof_commit": commit, "yardstick_fma_gflops": "80"}
        file.write_text(json.dumps({"context": context, "benchmarks": rows}))
        return file

    def bench(self, *arguments):
        command = [RINGPROOF, "bench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def expect_refused(self, done, words):
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)


class RunsMadeApart(Command):
    def test_a_slower_run_is_a_regression_and_an_equal_one_is_the_same(self):
        old, slow = self.run_file("a.json", 10), self.run_file("b.json", 11, seed=2)
        done = self.bench("compare", old, slow)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"^slower +\+(9|10)\.\d %")
        done = self.bench("compare", old, self.run_file("c.json", 10, seed=3))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(done.stdout.startswith("same"))

    def test_what_cannot_be_compared_is_refused(self):
        old = self.run_file("a.json", 10)
        other = self.path / "x.json"
        other.write_text('{"rows": []}')
        for file, words in (
            (self.run_file("b.json", 10, cpu="two"), "compare runs of one machine"),
            (self.run_file("c.json", 10, metric=f"reference {CASE}"), "share no metric"),
            (self.run_file("d.json", 10, count=3), "fewer than 5 samples"),
            (other, "is not what `ringproof bench --json` writes"),
            (self.path / "none.json", "cannot be read"),
        ):
            self.expect_refused(self.bench("compare", old, file), words)


class History(Command):
    def test_runs_are_appended_and_a_change_is_named_by_its_commit(self):
        history = self.path / "h.jsonl"
        for at in range(16):
            run = self.run_file("r.json", 10 if at < 11 else 12, seed=at, commit=f"commit{at}")
            self.assertEqual(self.bench("history", "add", run, "--file", history).returncode, 0)
        lines = [json.loads(line) for line in history.read_text().splitlines()]
        self.assertEqual([line["commit"] for line in lines], [f"commit{at}" for at in range(16)])
        self.assertEqual(len(lines[0]["samples"]), 15)
        self.assertEqual(lines[0]["yardsticks"], {"yardstick_fma_gflops": 80})
        done = self.bench("history", "--file", history)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\+(19|20)\.\d % at commit11 \(fence\)\n")
        self.assertEqual(done.stdout.count(" at commit"), 1)

    def test_the_page_draws_each_series_cost_against_length_and_share_of_the_peak(self):
        history, page = self.path / "h.jsonl", self.path / "h.html"
        for at in range(16):
            for rows in (128, 256, 512):
                line = METRIC.replace("sq4.skv4", f"sq{rows}.skv{rows}")
                time_ms = (rows / 128) ** 2 * (1 if at < 11 else 1.2)
                run = self.run_file("r.json", time_ms, seed=at, commit=f"c{at}", metric=line)
                for one in history_module.lines_of(run, "today"):
                    one["yardsticks"]["yardstick_copy_gbytes_per_s"] = 9.0
                    with history.open("a") as out:
                        out.write(json.dumps(one) + "\n")
        done = self.bench("history", "--file", history, "--page", page)
        self.assertEqual(done.returncode, 0, done.stderr)
        drawn = page.read_text()
        self.assertEqual(drawn.count("<svg"), 2 * (2 + 3))
        for words in ("n^2.0", "slope of theory", "80 GFLOP/s in double, 9 GB/s", "change seen by"):
            self.assertIn(words, drawn)
        self.assertRegex(drawn, r"\+(19|20)\.\d % at c11 \(fence\)")
        self.assertNotIn("mathdefault", drawn)

    def test_runs_of_two_machines_are_two_series(self):
        history = self.path / "h.jsonl"
        for cpu in ("one", "two"):
            run = self.run_file("r.json", 10, cpu=cpu)
            self.bench("history", "add", run, "--file", history)
        self.assertEqual(self.bench("history", "--file", history).stdout.count("1 runs"), 2)

    def test_bad_input_is_refused_and_nothing_is_added(self):
        history = self.path / "h.jsonl"
        self.expect_refused(self.bench("history", "--file", history), "is no file")
        bad = self.path / "bad.json"
        bad.write_text("{")
        done = self.bench("history", "add", bad, "--file", history)
        self.expect_refused(done, "bad.json")
        self.assertFalse(history.exists())
        history.write_text(
            '{"schema_version": 9, "metric": "m", "samples": [1], '
            '"fingerprint": {}, "commit": "c"}\n'
        )
        self.expect_refused(self.bench("history", "--file", history), "h.jsonl:1: schema version 9")


if __name__ == "__main__":
    unittest.main()
