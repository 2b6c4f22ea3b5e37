"""Two builds held against each other, by turns of `ringproof bench`, and what they say."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import pathlib
import subprocess
import tempfile
import time

import pairs
from samples import measure


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured before the rule may say that it cannot tell."""

    metrics: pathlib.Path
    margin: float
    pairs_min: int
    pairs_max: int
    seconds: float  # of a metric per process
    minutes: float  # after which no round begins, if there are pairs_min


def measured(
    effort: Effort,
    commands: dict[str, pathlib.Path],
    seed: int,
    slowdown: float,
    said: collections.abc.Callable[[str], None],
) -> pairs.PairRun:
    """Runs `commands["base"]` against `commands["head"]`; the control is the base again.

    With a slowdown above 1 the head makes that share of its calls twice: work, not arithmetic.
    """
    words = ["bench", "--metrics", str(effort.metrics), "--samples", "1"]
    words += ["--seconds", str(effort.seconds)]
    repeats = ["--repeat", f"{slowdown - 1:.6f}"] if slowdown > 1 else []
    end = time.monotonic() + 60 * effort.minutes
    with tempfile.TemporaryDirectory() as folder:
        json_file = pathlib.Path(folder) / "bench.json"

        def process(who):
            command = commands["head" if who == "head" else "base"]
            return measure([str(command), *words, *(repeats if who == "head" else [])], json_file)

        return pairs.run_pairs(
            {who: functools.partial(process, who) for who in pairs.CONTENDERS},
            effort.margin,
            effort.pairs_min,
            effort.pairs_max,
            seed,
            said,
            lambda: time.monotonic() < end,
        )


def overhead_of(effort: Effort, command: pathlib.Path) -> str:
    """What one more process says of the share of its time that was measured; "" where nothing."""
    words = ["bench", "--metrics", str(effort.metrics), "--samples", "1"]
    words += ["--seconds", str(effort.seconds)]
    done = subprocess.run([str(command), *words], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("measured work: ")]
    return f"of one process, {lines[-1]}" if lines else ""


def exit_code(run: pairs.PairRun, outcomes: list[str], strict: bool) -> int:
    """0 no regression, 1 regression, 3 unusable, nothing compared, or undecided where strict."""
    if not run.is_usable or not outcomes:
        return 3
    if "slower" in outcomes:
        return 1
    return 3 if strict and "undecided" in outcomes else 0
