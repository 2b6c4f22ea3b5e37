"""The deterministic layer: how many instructions a call takes, counted by callgrind.

A count knows nothing of the machine's mood: a program run twice gives the same one but for what
hangs on addresses (hash tables, alignment of memory), 1e-5 and less. Each build is counted twice,
each metric in a process of its own, on a Case that one thread serves; what is called is one call.
The margin is the design's 0.5 % (a smaller change of count says nothing about time), and never less
than ten times what the runs of one build differ by: a metric that does not repeat needs more to be
found, and is undecided, not the same, where it may have changed by more than the 0.5 %.
Valgrind knows no AVX-512 and says so to the program, which then takes its AVX2 path.
"""

from __future__ import annotations

import collections.abc
import concurrent.futures
import dataclasses
import pathlib
import re
import shutil
import subprocess
import tempfile

import builds
import rule
from samples import InputError, RunError

COUNTED = "ringproof::bench_counted_call*"  # a function of ci/bench.cpp
RUNS = 2  # of each build
CALLS_SLOWED = 20  # of which a known slowdown repeats its share
SPREADS = 10  # of one build's own differences that a margin is at least
PREFIX = "instructions "  # of a metric, so that accepted.txt can name it


@dataclasses.dataclass
class Counted:
    """Instructions by build and metric, a value per run; or why there are none."""

    samples: dict[str, dict[str, list[float]]]
    ratios: list[rule.Ratio]
    margins: dict[str, float]  # by metric
    not_run: str = ""

    @property
    def spread(self) -> float:
        """The largest difference between two runs of one build, as a share."""
        each = [
            max(values) / min(values) - 1
            for one in self.samples.values()
            for values in one.values()
        ]
        return max(each, default=0.0)

    @property
    def facts(self) -> list[str]:
        if self.not_run:
            return [f"instructions: not run: {self.not_run}"]
        widened = sum(margin > rule.MARGINS["instructions"] for margin in self.margins.values())
        undecided = sum(one.outcome == "undecided" for one in self.ratios)
        return [
            f"instructions of {len(self.ratios)} metrics by callgrind, each build twice; the same "
            f"build differs from itself by {self.spread:.1e} at most; margin "
            f"{100 * rule.MARGINS['instructions']:g} %"
            + (f", wider for {widened} of them" if widened else "")
            + (f"; {undecided} undecided" if undecided else "")
        ]


def none_because(why: str) -> Counted:
    return Counted({}, [], {}, why)


def metric_lines(file: pathlib.Path) -> list[str]:
    try:
        lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    except OSError as error:
        raise InputError(f"'{file}' cannot be read; give --counted a file of metrics") from error
    return [line for line in lines if line]


def count_once(
    command: pathlib.Path, metric: str, calls: int = 1, repeat: float = 0.0
) -> float | None:
    """Instructions of the calls; None where this build counts none of this metric."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(metric + "\n")
        file.flush()
        words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        words += [f"--toggle-collect={COUNTED}", str(command), "bench", "--metrics", file.name]
        words += ["--calls", str(calls), "--repeat", f"{repeat:.6f}"]
        words += ["--samples", "1", "--threads", "1"]
        done = subprocess.run(words, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        words_last = (done.stderr.strip() or "no word").splitlines()[-1]
        raise RunError(f"callgrind counted nothing of '{metric}': {words_last}")
    if done.returncode == 2:
        return None  # a metric that this build does not know
    if done.returncode != 0:
        raise RunError(f"'{metric}' ended with {done.returncode} under callgrind")
    return float(found[1]) or None


def margin_of(runs: collections.abc.Iterable[list[float]]) -> float:
    """The margin of one metric, from the runs of each build."""
    spread = max(max(values) / min(values) - 1 for values in runs)
    return max(rule.MARGINS["instructions"], SPREADS * spread)


def ratio_of(metric: str, base: list[float], head: list[float], margin: float) -> rule.Ratio:
    """The ratio of the counts; its interval is all that the runs allow."""
    low, high = min(head) / max(base), max(head) / min(base)
    least = 1 + rule.MARGINS["instructions"]
    outcome = "undecided"
    if low > 1 + margin:
        outcome = "slower"
    elif high < 1 / (1 + margin):
        outcome = "faster"
    elif 1 / least <= low and high <= least:
        outcome = "same"
    middle = (sum(head) / len(head)) / (sum(base) / len(base))
    return rule.Ratio(metric, len(base), middle, low, high, 1.0, 1.0, outcome)


def counted(
    commands: dict[str, pathlib.Path],
    metrics: list[str],
    slowdown: float,
    said: collections.abc.Callable[[str], None],
) -> Counted:
    """Counts `commands["base"]` and `commands["head"]`, as many processes at once as cores."""
    if not shutil.which("valgrind"):
        return none_because("valgrind is not installed")
    asked = [(who, metric) for metric in metrics for who in commands for _ in range(RUNS)]
    calls = CALLS_SLOWED if slowdown > 1 else 1

    def count(job):
        who, metric = job
        return count_once(commands[who], metric, calls, slowdown - 1 if who == "head" else 0.0)

    samples: dict[str, dict[str, list[float]]] = {who: {} for who in commands}
    try:
        if not any(count(("base", metric)) for metric in metrics[:2]):
            return none_because("the base was built before instructions were counted")
        said(f"counting instructions of {len(metrics)} metrics")
        with concurrent.futures.ThreadPoolExecutor(builds.jobs()) as pool:
            for (who, metric), value in zip(asked, pool.map(count, asked)):
                if value is not None:
                    samples[who].setdefault(PREFIX + metric, []).append(value)
    except RunError as error:
        return none_because(str(error))
    return judged(samples)


def judged(samples: dict[str, dict[str, list[float]]]) -> Counted:
    """The rule on what was counted. A metric that one build lacks is left out."""
    base, head = samples["base"], samples["head"]
    shared = [metric for metric in base if metric in head]
    if not shared:
        return none_because("no metric is counted in both builds")
    margins = {metric: margin_of([base[metric], head[metric]]) for metric in shared}
    ratios = [ratio_of(m, base[m], head[m], margins[m]) for m in shared]
    return Counted(samples, ratios, margins)
