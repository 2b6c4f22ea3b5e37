"""Apache Otava beside the fence: a stand-in that prints what the real one did, and the real one."""

import os
import pathlib
import tempfile
import unittest
import unittest.mock

import fence
import fence_test
import otava
from samples import RunError

CHANGES = {30: 1.2, 60: 0.8, 95: 1.15}
# What Otava printed of fence_test.series(CHANGES), shortened; it prints words on stderr.
PRINTED = """
{"series0": [{"time": 1000001800, "attributes": {}, "changes": [{"metric": "value", "index": 30,
"time": 1000001800, "forward_change_percent": "20", "magnitude": "0.200374", "mean_before":
"9.996431", "stddev_before": "0.088948", "mean_after": "11.999454", "stddev_after": "0.096166",
"pvalue": "0.000000"}]}, {"time": 1000003600, "attributes": {}, "changes": [{"metric": "value",
"index": 60, "time": 1000003600, "forward_change_percent": "-20", "magnitude": "0.246485",
"mean_before": "11.999454", "stddev_before": "0.096166", "mean_after": "9.626635", "stddev_after":
"0.088744", "pvalue": "0.000000"}]}]}
{"series1": []}
"""


class StandIn(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)

    def otava(self, printed, code=0):
        """An executable that keeps what it was asked and prints what it was told."""
        program = self.path / "otava"
        (self.path / "printed").write_text(printed)
        program.write_text(
            f"#!/bin/sh\ncat $OTAVA_CONFIG > {self.path}/config\necho $@ > {self.path}/words\n"
            f"cat $(dirname $OTAVA_CONFIG)/series0.csv > {self.path}/csv\n"
            f"echo 'INFO: {{at work}}' >&2; cat {self.path}/printed; exit {code}\n"
        )
        program.chmod(0o755)
        return unittest.mock.patch.dict(os.environ, {"OTAVA": str(program)})

    def test_what_it_prints_is_read_and_its_exit_code_says_nothing(self):
        with self.otava("INFO: {words}\n" + PRINTED):
            first, second = otava.change_points([[10.0, 12.0], [10.0]])
        self.assertEqual([one.index for one in first], [30, 60])
        self.assertEqual(first[0].ratio, 11.999454 / 9.996431)
        self.assertEqual(second, [])
        asked = (self.path / "words").read_text().split()
        self.assertEqual(asked[:3], ["analyze", "series0", "series1"])
        self.assertIn('"time_column": "time"', (self.path / "config").read_text())
        rows = (self.path / "csv").read_text().splitlines()
        self.assertEqual(rows, ["time,value", "1000000000,10.0", "1000000060,12.0"])

    def test_a_series_it_says_nothing_of_is_an_error(self):
        for printed, code, words in (
            ('{"series0": []}', 0, "not every series"),
            (PRINTED, 1, "ended with 1"),
            (PRINTED.replace("mean_after", "mean_later"), 0, "of another form"),
        ):
            with self.otava(printed, code), self.assertRaisesRegex(RunError, words):
                otava.change_points([[10.0], [10.0]])

    def test_where_it_is_not_installed_there_is_none(self):
        with unittest.mock.patch.dict(os.environ, {"OTAVA": "/nowhere/otava"}):
            self.assertIsNone(otava.program())
            with self.assertRaisesRegex(RunError, "not installed"):
                otava.change_points([[10.0]])


@unittest.skipUnless(otava.program(), "Apache Otava is not installed")
class Installed(unittest.TestCase):
    def test_three_known_changes_are_found_where_the_fence_finds_them(self):
        known = [fence_test.series(CHANGES, seed=seed) for seed in range(3)]
        *found, quiet = otava.change_points([*known, fence_test.series({})])
        self.assertEqual(quiet, [])
        for series, points in zip(known, found):
            self.assertEqual([one.index for one in points], sorted(CHANGES))
            self.assertEqual([one.index for one in fence.change_points(series)], sorted(CHANGES))


if __name__ == "__main__":
    unittest.main()
