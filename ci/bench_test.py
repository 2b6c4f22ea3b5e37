"""`ringproof bench`: every time has an accepted verdict; how fast is nobody's claim here."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
CASE = "fwd/fp32/b1.hq2.hkv2.sq40.skv40.dqk16.dv16/full/scale0.25/gauss:7/bhsd/single"
PARTS = ["forward", "verdict", "comparison", "reference", "plain_oracle"]


def bench(*arguments):
    command = [RINGPROOF, "bench", "--samples", "3", "--seconds", "0.001", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


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
