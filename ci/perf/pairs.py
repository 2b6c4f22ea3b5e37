"""Runs two builds by turns until the rule can decide, with a control that must find nothing.

A round is one process each of base, head and control (the base again), in random order; the next
round is its mirror image, so that whatever drifts evenly falls on all three alike (ABBA). The
control against the base is an A/A comparison: where it clears the margin the machine was no place
to measure, and the whole run is unusable.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import random

import rule

CONTENDERS = ("base", "head", "control")
OUTCOMES = ("slower", "undecided", "faster", "accepted", "same")  # the worst news first
Samples = dict[str, list[float]]  # by metric, a value per round
Process = collections.abc.Callable[[], dict[str, float]]


@dataclasses.dataclass
class PairRun:
    """What was measured, and what it says."""

    samples: dict[str, Samples]  # by contender
    ratios: list[rule.Ratio]  # head / base
    control: list[rule.Ratio]  # control / base

    @property
    def is_usable(self) -> bool:
        return all(one.outcome not in ("slower", "faster") for one in self.control)

    @property
    def rounds(self) -> int:
        return max((one.pairs for one in self.ratios), default=0)


def run_pairs(
    processes: dict[str, Process],
    margin: float,
    pairs_min: int,
    pairs_max: int,
    seed: int,
    said: collections.abc.Callable[[str], None],
    may_go_on: collections.abc.Callable[[], bool] = lambda: True,
) -> PairRun:
    """Measures at least `pairs_min` rounds, then two more at a time while any metric is undecided.

    `processes` gives, for base, head and control, one process's time per metric. `said` is told
    how far it is. Ctrl-C ends it after the round at work, if there are rounds enough to decide; so
    does a `may_go_on` that says no.
    """
    draw = random.Random(seed)
    samples: dict[str, Samples] = {who: {} for who in CONTENDERS}
    order: list[str] = []
    rounds = 0
    run = PairRun(samples, [], [])
    while rounds < pairs_max:
        order = order[::-1] if rounds % 2 else draw.sample(CONTENDERS, len(CONTENDERS))
        try:
            measured = {who: processes[who]() for who in order}
        except KeyboardInterrupt:
            if rounds < pairs_min:
                raise
            said(f"interrupted: decided on {rounds} rounds")
            break
        for who, times in measured.items():
            for metric, time in times.items():
                samples[who].setdefault(metric, []).append(time)
        rounds += 1
        if rounds >= pairs_min and rounds % 2 == pairs_min % 2:
            run = judged(samples, margin)
            if all(one.outcome != "undecided" for one in run.ratios):
                break
        said(f"round {rounds} of {pairs_min} to {pairs_max}")
        if rounds >= pairs_min and not may_go_on():
            break
    return judged(samples, margin)


def judged(samples: dict[str, Samples], margin: float) -> PairRun:
    """The rule on what was measured. A metric that one contender lacks is left out."""
    metrics = [m for m in samples["base"] if all(m in samples[who] for who in CONTENDERS)]

    def against_base(who: str) -> list[rule.Ratio]:
        return rule.decide(
            [rule.ratio_of(m, samples["base"][m], samples[who][m], margin) for m in metrics]
        )

    return PairRun(samples, against_base("head"), against_base("control"))
