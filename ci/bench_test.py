"""`ringproof bench`: every time has an accepted verdict; how fast is nobody's claim here."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
ROOT = pathlib.Path(__file__).resolve().parents[1]
CASE = "fwd/fp32/b1.hq2.hkv2.sq40.skv40.dqk16.dv16/full/scale0.25/gauss:7/bhsd/single"
PARTS = ["forward", "verdict", "comparison", "reference", "plain_oracle", "fast_oracle", "bounds"]


def bench(*arguments, **more):
    command = [RINGPROOF, "bench", "--samples", "3", "--seconds", "0.001", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **more)


class Bench(unittest.TestCase):
    def test_writes_each_sample_of_each_part_with_its_verdict(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "b.json"
            parts = [word for part in PARTS for word in ("--part", part)]
            asked = ["--candidate", "flash_forward_fp32", "--case", CASE, *parts, "--json", file]
            done = bench(*asked)
            record = json.loads(file.read_text())
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [file])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        samples = [one for one in record["benchmarks"] if one["run_type"] == "iteration"]
        self.assertEqual(len(samples), 3 * len(PARTS))
        for one in samples:
            part = one["name"].split()[0]
            self.assertGreater(one["real_time"], 0)
            if part in ("forward", "verdict", "comparison"):
                self.assertTrue(one["name"].startswith(f"{part} flash_forward_fp32 {CASE}"))
                self.assertEqual(one["label"], "accepted")
            self.assertIn(f"{part} ", done.stdout)

    def test_kernels_from_outside_are_timed_through_their_workers(self):
        plugin = RINGPROOF.parent.parent / "plugins" / "libattention_c.so"
        folders = (ROOT / "candidates" / "python", ROOT / "candidates" / "examples" / "python")
        environment = {**os.environ, "PYTHONPATH": ":".join(map(str, folders))}
        for name in (str(plugin), "python:attention_numpy:attention"):
            done = bench("--candidate", name, "--case", CASE, env=environment)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, rf" ms  \[.*\]  forward {name} {CASE}")

    def test_the_race_checker_is_timed_with_what_it_says(self):
        done = bench("--candidate", "flash_forward_fp32", "--case", CASE, "--part", "race_check")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"race_check flash_forward_fp32 {CASE}", done.stdout)
        # Another candidate's name is no kernel's.
        done = bench("--candidate", "canary", "--case", CASE, "--part", "race_check")
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertNotIn(" ms ", done.stdout)

    @unittest.skipUnless(shutil.which("mpirun"), "no mpirun here")
    def test_a_ring_is_timed_on_mpi_processes(self):
        line = CASE.replace("single", "contiguous2")
        done = bench("--candidate", "ring:double", "--case", line, "--part", "forward_mpi")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"forward_mpi ring:double {line}", done.stdout)

    def test_calls_made_twice_and_yardsticks_stand_in_the_record(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "b.json"
            asked = ["--part", "bounds", "--case", CASE, "--calls", "40", "--repeat", "1"]
            done = bench(*asked, "--yardsticks", "--json", file)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            record = json.loads(file.read_text())
        self.assertGreater(float(record["context"]["yardstick_copy_gbytes_per_s"]), 0)
        samples = [one for one in record["benchmarks"] if one["run_type"] == "iteration"]
        self.assertEqual({one["iterations"] for one in samples}, {40})
        overhead = r"measured work: ([\d.]+) s of ([\d.]+) s; timing an empty call takes (\d+) ns"
        timed, wall, empty = map(float, re.search(overhead, done.stdout).groups())
        whole = sum(one["iterations"] * one["real_time"] for one in samples) / 1e3
        self.assertEqual(f"{whole:.2f}", f"{timed:.2f}")
        self.assertLessEqual(timed, wall)
        self.assertGreater(empty, 0)

    def test_every_kernel_on_the_host_runtime_has_a_metric(self):
        listed = subprocess.run([RINGPROOF, "list", "candidates"], capture_output=True, text=True)
        names = re.findall(r"^(?:flash|attention)\w+$", listed.stdout, re.MULTILINE)
        self.assertGreater(len(names), 5)
        files = [ROOT / "ci" / "perf" / name for name in ("small.txt", "large.txt")]
        lines = [line for file in files for line in file.read_text().splitlines()]
        timed = {tuple(line.split()[:2]) for line in lines}
        self.assertEqual([name for name in names if ("forward", name) not in timed], [])

    def test_a_wrong_output_has_no_time(self):
        done = bench("--candidate", "canary", "--case", CASE)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(f"canary: rejected on '{CASE}'", done.stdout)
        self.assertNotIn(" ms ", done.stdout)

    def test_bad_input_is_one_sentence(self):
        for arguments, word in (
            (["--part", "backwards"], "there is no part 'backwards'"),
            (["--candidate", "nobody"], "nobody"),
            (["--case", "fwd/fp32"], "Case line, position 9"),
            (["--candidate", "attention_fp64", "--case", CASE], "covers any of these Cases"),
            (["--case", CASE, "--json", "/nowhere/b.json"], "cannot be written"),
        ):
            done = bench(*arguments)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertIn(word, done.stderr)
            self.assertEqual(len(done.stderr.strip().split("\n")), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
