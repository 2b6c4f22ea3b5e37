"""Change points of series whose changes are known."""

import random
import unittest

import fence


def series(changes, length=120, noise=0.01, seed=4):
    """A level of 10 that is multiplied by `changes[i]` at i."""
    draw = random.Random(seed)
    level, values = 10.0, []
    for at in range(length):
        level *= changes.get(at, 1.0)
        values.append(level * (1 + draw.gauss(0, noise)))
    return values


class Fence(unittest.TestCase):
    def test_three_known_changes_are_found_where_they_are(self):
        for seed in range(10):
            found = fence.change_points(series({30: 1.2, 60: 0.8, 95: 1.15}, seed=seed))
            self.assertEqual([one.index for one in found], [30, 60, 95])
            self.assertEqual([one.ratio > 1 for one in found], [True, False, True])

    def test_a_quiet_series_has_none(self):
        found = [fence.change_points(series({}, seed=seed)) for seed in range(50)]
        self.assertEqual(sum(map(len, found)), 0)

    def test_one_outlier_is_no_change(self):
        values = series({})
        values[50] *= 3
        self.assertEqual(fence.change_points(values), [])

    def test_what_a_noisy_series_always_does_is_no_change(self):
        self.assertEqual(fence.change_points(series({60: 1.05}, noise=0.1)), [])

    def test_without_history_there_is_no_fence(self):
        self.assertEqual(fence.change_points([1.0, 2.0, 1.0, 3.0, 3.0, 3.0]), [])


if __name__ == "__main__":
    unittest.main()
