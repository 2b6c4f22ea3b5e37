#!/usr/bin/env python3
"""Compares two files of `ringproof bench --json` that were made apart.

    ringproof bench compare before.json after.json

Samples of one file are no pairs of the other's: whatever the machine did between the two runs
stands in the ratio and not in its interval. Where both commits are at hand, ci/perf.sh decides.

Exit codes: 0 no regression, 1 regression, 2 bad usage or input, 3 undecided with --strict.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import rule
from samples import InputError, context_of, fingerprint_of, read_samples


def require_one_machine(files: dict[pathlib.Path, dict]) -> None:
    (first, one), *others = ((file, fingerprint_of(context)) for file, context in files.items())
    for file, other in others:
        for name, value in one.items():
            if other[name] != value:
                raise InputError(
                    f"'{file}' was measured with {name} {other[name]} and '{first}' with {value}; "
                    "compare runs of one machine"
                )


def compare(before: pathlib.Path, after: pathlib.Path, margin: float) -> list[rule.Ratio]:
    require_one_machine({before: context_of(before), after: context_of(after)})
    base, head = read_samples(before), read_samples(after)
    shared = [metric for metric in base if metric in head]
    if not shared:
        raise InputError(f"'{before}' and '{after}' share no metric; time the same ones in both")
    few = [m for m in shared if min(len(base[m]), len(head[m])) < 5]
    if few:
        raise InputError(f"'{few[0]}' has fewer than 5 samples; measure with --samples 15")
    ratios = [rule.ratio_of_apart(m, base[m], head[m], margin) for m in shared]
    return rule.decide(ratios, rule.P_MAX_APART)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ringproof bench compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--margin", type=float, default=rule.MARGINS["time"])
    parser.add_argument("--strict", action="store_true", help="exit 3 where one stays undecided")
    asked = parser.parse_args()
    try:
        ratios = compare(asked.before, asked.after, asked.margin)
    except InputError as error:
        print(f"ringproof bench compare: {error}", file=sys.stderr)
        return 2
    for one in sorted(ratios, key=lambda one: -one.median):
        low, high, change = (100 * (value - 1) for value in (one.low, one.high, one.median))
        print(f"{one.outcome:<10}{change:+7.1f} %  [{low:+.1f}, {high:+.1f}]  {one.metric}")
    print("made apart: what the machine did between the two runs is in these ratios")
    outcomes = {one.outcome for one in ratios}
    if "slower" in outcomes:
        return 1
    return 3 if asked.strict and "undecided" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
