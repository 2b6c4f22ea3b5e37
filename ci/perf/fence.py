"""Change points of a series: a step that is large beside what this series does anyway.

A step is the logarithm of a value over the one before. The fence is Q3 + 3 IQR of the sizes of the
steps seen so far, as the rustc performance suite has it; a step beyond it is a change point, and is
left out of later fences. After one, steps are measured from the new level's median, so that one
noisy value is not two changes.
"""

from __future__ import annotations

import dataclasses
import math
import statistics

STEPS_MIN = 6  # of history before a fence can be drawn
LEVEL = 5  # values whose median is the level that the next value is held against
CONFIRM = 3  # values on the new level; fewer are an outlier, shown by nobody


@dataclasses.dataclass(frozen=True)
class ChangePoint:
    """The first value on a new level; `ratio` is new level / old level."""

    index: int
    ratio: float


def change_points(values: list[float]) -> list[ChangePoint]:
    """Change points of positive values in time's order. None before there is a history."""
    found: list[ChangePoint] = []
    steps: list[float] = []
    start = 0  # of the present level
    at = 1
    while at < len(values):
        level = statistics.median(values[max(start, at - LEVEL) : at])
        step = abs(math.log(values[at] / level))
        after = values[at : at + CONFIRM]
        if len(steps) >= STEPS_MIN and len(after) == CONFIRM:
            fence = fence_of(steps)
            moved = [math.log(value / level) for value in after]
            if all(m > fence for m in moved) or all(m < -fence for m in moved):
                found.append(ChangePoint(at, statistics.median(after) / level))
                start = at
                at += 1
                continue
        steps.append(step)
        at += 1
    return found


def fence_of(steps: list[float]) -> float:
    first, _, third = statistics.quantiles(steps, n=4, method="inclusive")
    return third + 3 * (third - first)
