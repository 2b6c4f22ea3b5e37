"""Instructions: the rule on counts, and callgrind itself on this build."""

import os
import pathlib
import shutil
import unittest

import counts

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
SHAPE = "b1.hq1.hkv1.sq16.skv16.dqk16.dv16/full/scale0.25/gauss:1/bhsd/single"
BOUNDS = f"bounds fwd/fp32/{SHAPE}"


class Rule(unittest.TestCase):
    def outcome(self, base, head):
        run = counts.judged({"base": {"m": base}, "head": {"m": head}})
        return run.ratios[0].outcome

    def test_a_count_beyond_the_margin_is_more_and_one_within_is_the_same(self):
        for head, outcome in ((1006, "slower"), (1004, "same"), (996, "same"), (994, "faster")):
            self.assertEqual(self.outcome([1000, 1000], [head, head]), outcome)

    def test_what_does_not_repeat_widens_its_own_margin(self):
        self.assertEqual(self.outcome([1000, 1001], [1009, 1009]), "undecided")
        self.assertEqual(self.outcome([1000, 1001], [1003, 1003]), "same")
        self.assertEqual(self.outcome([1000, 1001], [1013, 1013]), "slower")
        self.assertEqual(self.outcome([1000, 1000], [1000, 1100]), "undecided")

    def test_builds_that_share_no_metric_are_not_compared(self):
        run = counts.judged({"base": {"m": [1, 1]}, "head": {"n": [1, 1]}})
        self.assertEqual(run.not_run, "no metric is counted in both builds")


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
class Callgrind(unittest.TestCase):
    def test_the_same_program_takes_the_same_instructions_and_a_call_made_twice_takes_two(self):
        once = counts.count_once(RINGPROOF, BOUNDS)
        self.assertEqual(counts.count_once(RINGPROOF, BOUNDS), once)
        twice = counts.count_once(RINGPROOF, BOUNDS, repeat=1.0)
        self.assertEqual(round(10 * twice / once), 20)

    def test_of_a_candidate_its_call_alone_is_counted(self):
        kernel = f"flash_forward_fp32 fwd/fp32/{SHAPE}"
        call = counts.count_once(RINGPROOF, f"forward {kernel}")
        verdict = counts.count_once(RINGPROOF, f"verdict {kernel}")
        self.assertLess(2 * call, verdict)

    def test_a_metric_that_a_build_does_not_know_is_none(self):
        self.assertIsNone(counts.count_once(RINGPROOF, BOUNDS.replace("bounds", "bonds")))


if __name__ == "__main__":
    unittest.main()
