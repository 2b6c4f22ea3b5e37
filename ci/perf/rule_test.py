"""The rule of the gate on samples whose truth is known."""

import unittest

import numpy

import rule


def samples(seed, ratio=1.0, noise=0.01, drift=0.0, pairs=15):
    """Pairs of times whose ratio is known; both of a pair share the machine's drift."""
    draw = numpy.random.default_rng(seed)
    common = 1 + drift * numpy.sin(numpy.arange(pairs))
    base = common * numpy.exp(noise * draw.standard_normal(pairs))
    head = ratio * common * numpy.exp(noise * draw.standard_normal(pairs))
    return list(base), list(head)


class TheRule(unittest.TestCase):
    def outcome(self, *arguments, margin=0.02, **named):
        return rule.decide([rule.ratio_of("m", *samples(*arguments, **named), margin)])[0].outcome

    def test_a_slowdown_beyond_the_margin_is_slower_and_its_inverse_faster(self):
        for seed in range(20):
            self.assertEqual(self.outcome(seed, 1.08), "slower")
            self.assertEqual(self.outcome(seed, 1 / 1.08), "faster")

    def test_equal_programs_are_never_slower_even_when_the_machine_drifts(self):
        for seed in range(200):
            outcome = self.outcome(seed, 1.0, noise=0.03, drift=0.5)
            self.assertIn(outcome, ("same", "undecided"))

    def test_a_machine_full_of_noise_is_looked_at_16_times_and_still_cries_no_wolf(self):
        # Pairs that differ by a factor of two either way, as beside busy builds.
        alarms = 0
        self.addCleanup(setattr, rule, "RESAMPLES", rule.RESAMPLES)
        rule.RESAMPLES = 99
        for seed in range(100):
            base, head = samples(seed, noise=0.5, pairs=45)
            for pairs in range(15, 46, 2):
                one = rule.ratio_of("m", base[:pairs], head[:pairs], 0.02)
                if rule.decide([one])[0].outcome in ("slower", "faster"):
                    alarms += 1
                    break
        self.assertLessEqual(alarms, 2)  # p of 0.025 at each look would give a dozen

    def test_quiet_equal_programs_are_the_same(self):
        for seed in range(20):
            self.assertEqual(self.outcome(seed, 1.0, noise=0.005), "same")

    def test_a_difference_within_the_margin_is_no_regression(self):
        self.assertEqual(self.outcome(3, 1.01, noise=0.002), "same")
        self.assertEqual(self.outcome(3, 1.01, noise=0.002, margin=0.005), "slower")

    def test_one_outlier_among_the_pairs_changes_nothing(self):
        base, head = samples(5, 1.0, noise=0.003)
        head[4] *= 20
        self.assertEqual(rule.ratio_of("m", base, head, 0.02).outcome, "same")

    def test_the_median_lies_in_its_interval(self):
        one = rule.ratio_of("m", *samples(8, 1.05), 0.02)
        self.assertLessEqual(one.low, one.median)
        self.assertLessEqual(one.median, one.high)

    def test_many_metrics_are_held_to_more_than_one(self):
        # A p of 0.0008 is a finding alone, and none among a hundred metrics that show nothing.
        alone = rule.Ratio("m", 15, 1.03, 1.021, 1.05, 0.0008, 1.0, "slower")
        idle = [rule.Ratio(f"i{i}", 15, 1.0, 0.99, 1.01, 1.0, 1.0, "same") for i in range(100)]
        self.assertEqual(rule.decide([alone])[0].outcome, "slower")
        self.assertEqual(rule.decide([alone, *idle])[0].outcome, "undecided")
        self.assertEqual({one.outcome for one in rule.decide([alone, *idle])[1:]}, {"same"})


if __name__ == "__main__":
    unittest.main()
