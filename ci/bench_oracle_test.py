"""`ringproof bench oracle` runs and says what it compared; how fast is nobody's claim here."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"


class BenchOracle(unittest.TestCase):
    def test_times_every_contender_once_a_round_and_names_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "bench.json"
            command = [RINGPROOF, "bench", "oracle", "--short", "--rounds", "2", "--json", file]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            record = json.loads(file.read_text())
        self.assertIn("not run: NumPy, PyTorch: no --python given", ended.stdout)
        self.assertEqual(record["not_run"], ["NumPy, PyTorch: no --python given"])
        contenders = record["workloads"][0]["contenders"]
        runs = {one["name"]: len(one["wall_s"]) for one in contenders}
        self.assertEqual(
            runs,
            {
                "fast oracle": 2,
                "fast oracle, all statistics": 2,
                "reference, bounds and comparison": 2,
                "plain oracle": 1,
            },
        )
        for one in contenders:
            self.assertTrue(all(time > 0 for time in one["wall_s"]), one)

    def test_asks_the_peers_where_there_is_a_python(self):
        python = os.environ["RINGPROOF_PYTHON"]
        command = [RINGPROOF, "bench", "oracle", "--short", "--rounds", "1", "--python", python]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        self.assertIn("NumPy as installed", ended.stdout)


if __name__ == "__main__":
    unittest.main()
