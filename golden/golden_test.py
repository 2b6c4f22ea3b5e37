#!/usr/bin/env python3
"""The stored answers are whole, are what generate.py computes, and agree with their enclosures."""
import hashlib
import json
import unittest

import numpy as np

import generate
from case_line import read_cases
from inputs import FOLDER, make_input_bits


class GoldenTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cases = read_cases(FOLDER / "cases.txt")
        cls.entries = json.loads(generate.MANIFEST.read_text())["cases"]

    def test_the_manifest_lists_the_cases_of_cases_txt_in_order(self):
        self.assertEqual([e["line"] for e in self.entries], [c.line for c in self.cases])
        self.assertGreaterEqual(len(self.entries), 40)
        self.assertEqual(len({e["line"] for e in self.entries}), len(self.entries))

    def test_every_stored_file_has_the_hash_of_the_manifest(self):
        listed = {}
        for entry in self.entries:
            listed |= {f"{entry['folder']}/{name}": want for name, want in entry["sha256"].items()}
        found = {
            path.relative_to(generate.SMALL).as_posix(): path for path in generate.SMALL.glob("*/*")
        }
        self.assertEqual(sorted(found), sorted(listed))
        for name, path in found.items():
            self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), listed[name], name)

    def test_stored_inputs_are_what_the_recipes_make(self):
        for case, entry in zip(self.cases, self.entries, strict=True):
            for name, bits in zip("qkv", make_input_bits(case)):
                data = (generate.SMALL / entry["folder"] / f"{name}.npy").read_bytes()
                self.assertEqual(data, generate.npy_bytes(bits), case.line)

    def test_stored_answers_are_what_long_double_gives_now(self):
        if np.finfo(np.longdouble).nmant != 63:
            self.skipTest("long double has not 64 bits here: the stored answers are not recomputed")
        self.assertEqual(generate.differences(self.cases, within_error=True), [])

    def test_the_enclosures_hold_the_long_double_answers(self):
        enclosed = [e for e in self.entries if "enclosure_out.npy" in e["sha256"]]
        self.assertEqual(len(enclosed), 26)
        for entry in enclosed:
            for name in ("out", "lse"):
                answer = np.load(generate.SMALL / entry["folder"] / f"{name}.npy")
                truth = np.load(generate.SMALL / entry["folder"] / f"enclosure_{name}.npy")
                self.assertTrue(generate.agrees_within_error(answer, truth), entry["line"])

    def test_enclosures_are_far_narrower_than_the_last_bit_of_a_double(self):
        for entry in self.entries:
            for name in ("enclosure_out.npy", "enclosure_lse.npy"):
                if name in entry["sha256"]:
                    truth = np.load(generate.SMALL / entry["folder"] / name)
                    value, radius = np.abs(truth[..., 0]), truth[..., 2]
                    self.assertTrue(np.all(radius <= 2.0**-100 * value), entry["line"])


if __name__ == "__main__":
    unittest.main()
