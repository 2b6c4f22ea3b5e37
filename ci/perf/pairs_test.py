"""Interleaved rounds on made-up processes: order, extension, the control."""

import random
import unittest

import pairs


class MadeUp:
    """Three processes that note when they ran; head takes `slowdown` times as long."""

    def __init__(self, slowdown=1.0, noise=0.004, control=1.0):
        self.ran = []
        self.draw = random.Random(11)
        self.factor = {"base": 1.0, "head": slowdown, "control": control}
        self.noise = noise

    def process(self, who):
        def run():
            self.ran.append(who)
            return {"m": 10 * self.factor[who] * (1 + self.draw.gauss(0, self.noise))}

        return run

    def run(self, pairs_min=15, pairs_max=45, **more):
        processes = {who: self.process(who) for who in pairs.CONTENDERS}
        return pairs.run_pairs(
            processes, 0.02, pairs_min, pairs_max, seed=1, said=more.get("said", lambda words: None)
        )


class InterleavedRounds(unittest.TestCase):
    def test_a_round_runs_each_contender_once_and_the_next_is_its_mirror(self):
        made = MadeUp()
        made.run()
        rounds = [made.ran[i : i + 3] for i in range(0, len(made.ran), 3)]
        self.assertTrue(all(set(one) == set(pairs.CONTENDERS) for one in rounds))
        for first, second in zip(rounds[0::2], rounds[1::2]):
            self.assertEqual(first, second[::-1])
        self.assertGreater(len({tuple(one) for one in rounds}), 2)

    def test_what_is_clear_ends_after_the_least_number_of_pairs(self):
        run = MadeUp(slowdown=1.1).run()
        self.assertEqual((run.rounds, run.ratios[0].outcome), (15, "slower"))
        self.assertTrue(run.is_usable)

    def test_what_is_not_clear_is_measured_longer_and_no_longer_than_allowed(self):
        run = MadeUp(slowdown=1.02, noise=0.03).run(pairs_max=25)
        self.assertEqual((run.rounds, run.ratios[0].outcome), (25, "undecided"))

    def test_a_control_that_clears_the_margin_makes_the_run_unusable(self):
        self.assertFalse(MadeUp(control=1.2).run().is_usable)

    def test_a_metric_that_one_build_lacks_is_left_out(self):
        processes = {who: MadeUp().process(who) for who in pairs.CONTENDERS}
        only_head = {**processes, "head": lambda: {"m": 10.0, "new": 1.0}}
        run = pairs.run_pairs(only_head, 0.02, 15, 15, 1, lambda words: None)
        self.assertEqual([one.metric for one in run.ratios], ["m"])

    def test_an_interrupt_keeps_the_rounds_that_decide(self):
        made = MadeUp(slowdown=1.02, noise=0.03)
        left = [55]

        def until_interrupted(process):
            def run():
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return process()

            return run

        processes = {who: until_interrupted(made.process(who)) for who in pairs.CONTENDERS}
        run = pairs.run_pairs(processes, 0.02, 15, 45, 1, lambda words: None)
        self.assertEqual(run.rounds, 18)


if __name__ == "__main__":
    unittest.main()
