#!/usr/bin/env python3
"""`ringproof scale` at 64 ranks: a right ring is accepted, wrong ones are refused, by what they do.

Simulated times are the same on every machine. Needs a build with SimGrid; without one the command
must say so, and not pass.
"""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
RANKS, WRONG_RANKS = (RINGPROOF.with_name("ringproof_at_scale" + end) for end in ("", "_wrong"))
NETWORKS = ("nvlink_islands", "infiniband_fat_tree")
SLOW_TFLOPS = "0.01"  # of a GPU whose local steps take longer than a block's way


def scale(*arguments, **variables):
    return subprocess.run(
        [RINGPROOF, "scale", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **variables},
    )


def figures(*arguments):
    with tempfile.TemporaryDirectory() as folder:
        done = scale("--json", f"{folder}/scale.json", *arguments)
        return done, json.loads((pathlib.Path(folder) / "scale.json").read_text())


@unittest.skipUnless(RANKS.exists(), "not run: built without SimGrid")
class AtScale(unittest.TestCase):
    def test_a_ring_of_64_ranks_is_accepted_with_the_traffic_of_its_formula(self):
        for network in NETWORKS:
            done, got = figures("--network", network)
            self.assertEqual((done.returncode, got["outcome"]), (0, "accepted"), done.stdout)
            token_bytes = 2 * (64 + 64) * 4
            sent = 64 * (64 - 1) * 16 * token_bytes
            self.assertEqual(got["bytes_sent"], {"got": sent, "want": sent})
            self.assertEqual(got["exchanges"], {"got": 64 * 63, "want": 64 * 63})
            pairs = 2 * 1024 * 1025 // 2
            self.assertEqual(got["pairs"], {"got": pairs, "want": pairs})
            self.assertEqual(got["memory_bytes_peak"]["got"], got["memory_bytes_peak"]["want"])
            self.assertEqual(got["elements_judged"], 1024 * 2 * (64 + 1))
            self.assertEqual((got["steps_held"], got["time_faults"]), (64 * 63, []))

    def test_transfers_decide_where_gpus_are_fast_and_computing_where_they_are_slow(self):
        for network in NETWORKS:
            fast, slow = (
                figures("--network", network, *more)[1] for more in ((), ("--tflops", SLOW_TFLOPS))
            )
            self.assertGreaterEqual(fast["simulated_s"], 63 * fast["transfer_s"])
            self.assertGreater(fast["tokens_to_hide_transfers"], 16)
            self.assertGreaterEqual(slow["formula_high_s"], slow["simulated_s"])
            self.assertLess(slow["formula_high_s"] - slow["computing_s"], slow["transfer_s"])
            self.assertLess(slow["tokens_to_hide_transfers"], 16)

    def test_every_schedule_dtype_and_mask_runs(self):
        for more in (
            ("--schedule", "striped", "--dtype", "bf16"),
            ("--schedule", "contiguous", "--heads", "4", "--heads-kv", "1"),
            ("--mask", "full", "--dtype", "fp64", "--tokens-per-rank", "36"),
        ):
            done = scale("--ranks", "6", "--tflops", "0.05", *more)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def expect_refused(self, wrong, code, *words):
        done = scale("--tflops", "0.02", "--ranks-program", str(WRONG_RANKS), RINGPROOF_WRONG=wrong)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stdout)

    def test_the_program_of_wrong_rings_is_right_when_nothing_is_asked_of_it(self):
        self.expect_refused("", 0, "accepted")

    def test_wrong_answers_are_rejected(self):
        self.expect_refused("merge_of_no_weight", 1, "lie outside their bound")

    def test_a_block_that_one_rank_does_not_read_is_rejected_by_answer_work_and_time(self):
        self.expect_refused(
            "block_unread", 1, "outside their bound", "the first is rank 5", "times: 1 steps"
        )

    def test_a_ring_that_transfers_after_it_computed_is_rejected_by_its_times_alone(self):
        self.expect_refused(
            "no_overlap", 1, "times: 4032 steps take another time", "times: the ring took"
        )

    def test_a_wrong_block_or_a_rank_that_throws_is_inconclusive_and_named(self):
        self.expect_refused("wrong_block", 3, "rank 5, step 7: wanted block 63")
        self.expect_refused("throws", 3, "rank 5 throws at step 7")

    def test_ranks_that_wait_for_each_other_forever_are_inconclusive(self):
        self.expect_refused("never_sends", 3, "left no report")

    def test_the_deadline_ends_the_simulation(self):
        done = scale("--deadline", "0.001")
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("did not end within", done.stdout)


class Usage(unittest.TestCase):
    def test_bad_input_is_one_sentence_and_code_2(self):
        for arguments, word in (
            (("--ranks", "1"), "--ranks"),
            (("--ranks", "2000"), "--ranks"),
            (("--tokens-per-rank", "15"), "--tokens-per-rank"),
            (("--network", "token_ring"), "nvlink_islands"),
            (("--schedule", "hexagon"), "--schedule"),
            (("--heads", "3", "--heads-kv", "2"), "heads"),
        ):
            done = scale(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_without_simgrid_it_says_so_and_does_not_pass(self):
        for done in (scale(PATH="/nowhere"), scale("--ranks-program", "/nowhere/ranks")):
            self.assertEqual(done.returncode, 3)
            self.assertIn("not run: no SimGrid", done.stdout)

    def test_help_shows_examples(self):
        done = scale("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("ringproof scale --ranks 1024", done.stdout)


if __name__ == "__main__":
    unittest.main()
