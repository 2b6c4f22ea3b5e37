"""The rule of the gate: what pairs of timings say about a metric (design: performance.md).

A pair is one process of the base and one of the head that ran beside each other; its statistic is
the logarithm of their ratio. A metric's ratio is the median over pairs; a bootstrap over pairs
gives its interval. Two numbers that differ are no regression: the interval must clear a margin, and
so many pairs must lie beyond it that chance would have it once in 1,000 looks (sign test: it knows
nothing of how noise is spread). 0.025 would do for one look; the gate looks up to 16 times, and
beside other work 1 of 15 comparisons of equal builds was then decided, wrongly.
"""

from __future__ import annotations

import dataclasses
import math

import numpy
from scipy import stats

CONFIDENCE = 0.95  # of an interval
P_MAX_PAIRS = 0.001  # of a finding, all metrics counted: pairs are looked at again and again
P_MAX_APART = 0.025  # of one look
RESAMPLES = 9999
MARGINS = {"time": 0.02, "instructions": 0.005}


@dataclasses.dataclass(frozen=True)
class Ratio:
    """head / base of one metric: the median over pairs and its interval."""

    metric: str
    pairs: int
    median: float
    low: float
    high: float
    p_slower: float  # chance of what was seen, or more, were the true ratio at the margin
    p_faster: float
    outcome: str  # slower, faster, same, undecided


def ratio_of(metric: str, base: list[float], head: list[float], margin: float) -> Ratio:
    """The ratio of one metric by itself: no correction for other metrics.

    Requires as many base as head samples, in pairs, all above 0. The same samples give the same
    interval: the bootstrap is seeded by their count alone.
    """
    logs = numpy.log(numpy.asarray(head, float)) - numpy.log(numpy.asarray(base, float))
    count, edge = len(logs), math.log1p(margin)
    p_slower = stats.binom.cdf(numpy.count_nonzero(logs <= edge), count, 0.5)
    p_faster = stats.binom.cdf(numpy.count_nonzero(logs >= -edge), count, 0.5)
    medians = medians_of(logs, seed=0)
    return _ratio(metric, count, numpy.median(logs), medians, margin, (p_slower, p_faster))


def ratio_of_apart(metric: str, base: list[float], head: list[float], margin: float) -> Ratio:
    """The same of samples that are no pairs: each side is drawn for itself."""
    logs = [numpy.log(numpy.asarray(side, float)) for side in (base, head)]
    median = numpy.median(logs[1]) - numpy.median(logs[0])
    medians = medians_of(logs[1], seed=1) - medians_of(logs[0], seed=0)
    edge = math.log1p(margin)
    p_slower = stats.mannwhitneyu(logs[1], logs[0] + edge, alternative="greater").pvalue
    p_faster = stats.mannwhitneyu(logs[1], logs[0] - edge, alternative="less").pvalue
    count = min(len(base), len(head))
    return _ratio(metric, count, median, medians, margin, (p_slower, p_faster))


def medians_of(values: numpy.ndarray, seed: int) -> numpy.ndarray:
    draw = numpy.random.default_rng([seed, len(values)])
    return numpy.median(values[draw.integers(0, len(values), (RESAMPLES, len(values)))], axis=1)


def _ratio(
    metric: str,
    count: int,
    median: float,
    medians: numpy.ndarray,
    margin: float,
    p: tuple[float, float],
) -> Ratio:
    low, high = numpy.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    edge = math.log1p(margin)
    outcome = "undecided"
    if low > edge:
        outcome = "slower"
    elif high < -edge:
        outcome = "faster"
    elif -edge <= low and high <= edge:
        outcome = "same"
    bounds = [float(math.exp(x)) for x in (median, low, high)]
    return Ratio(metric, count, *bounds, float(p[0]), float(p[1]), outcome)


def decide(ratios: list[Ratio], p_max: float = P_MAX_PAIRS) -> list[Ratio]:
    """The same with findings held to `p_max`, corrected for their number (Benjamini, Hochberg).

    What only the correction takes back is undecided, never the same.
    """
    if not ratios:
        return []
    p_least = [min(one.p_slower, one.p_faster) for one in ratios]
    adjusted = stats.false_discovery_control(p_least, method="bh")
    decided = []
    for one, p in zip(ratios, adjusted):
        is_found = one.outcome in ("slower", "faster")
        keeps = not is_found or p <= p_max
        decided.append(one if keeps else dataclasses.replace(one, outcome="undecided"))
    return decided
