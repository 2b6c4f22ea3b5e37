"""The history as a page: every series with its changes, cost against length, share of the peak."""

from __future__ import annotations

import math
import pathlib
import statistics
import sys

import jinja2
from matplotlib.ticker import LogLocator, NullLocator

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "reports"))
import figures  # noqa: E402

import case_shape  # noqa: E402

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLOURS = [colour for colour, _ in figures.DTYPES.values()]
RUNS_MIN = 2  # of a series that is drawn


def median_ms(line: dict) -> float:
    return statistics.median(line["samples"])


def who_of(line: dict) -> str:
    return " ".join(word for word in (line["part"], line["candidate"]) if word)


def style(at: int) -> dict:
    return {"color": COLOURS[at % len(COLOURS)], "marker": MARKS[at % len(MARKS)], "ms": 4}


def legend_above(axes, is_narrow) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=1 if is_narrow else 2,
        frameon=False,
        borderaxespad=0,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def plain_numbers(axis, numticks: int) -> None:
    """Powers of ten as numbers: SVG text knows no mathematics."""
    axis.set_major_locator(LogLocator(numticks=numticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def draw_series(lines: list[dict], found: dict[str, list]):
    """Medians and quartiles in the order of the runs; a line where a finder saw a change."""

    def draw(axes, is_narrow):
        at = range(len(lines))
        quartiles = [quartiles_of(line["samples"]) for line in lines]
        axes.fill_between(
            at, *zip(*quartiles), color=figures.BAR, alpha=0.3, lw=0, label="quartiles"
        )
        axes.plot(at, [median_ms(line) for line in lines], "o-", color=figures.INK, ms=3, lw=1)
        for (name, points), dash, height in zip(found.items(), ("-", "--"), (1.0, 0.5)):
            width = 1.6 / height  # of the second finder's lines, which lie on those of the first
            for number, one in enumerate(points):
                colour = figures.REJECTED if one.ratio > 1 else figures.BAR
                label = f"change seen by {name}" if number == 0 else None
                axes.axvline(
                    one.index - 0.5, 0, height, color=colour, ls=dash, lw=width, label=label
                )
        axes.set_ylim(bottom=0)
        step = max(1, math.ceil(len(lines) / (4 if is_narrow else 9)))
        ticks = list(at)[::step]
        axes.set_xticks(ticks, [lines[tick]["commit"][:7] for tick in ticks])
        axes.set_xlabel("commit")
        axes.set_ylabel("ms a call")
        legend_above(axes, is_narrow)

    return draw


def quartiles_of(samples: list[float]) -> tuple[float, float]:
    if len(samples) < 2:
        return samples[0], samples[0]
    first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
    return first, third


def by_length(latest: list[dict]) -> dict[str, list[tuple[int, float]]]:
    """Part and candidate -> (length, ms), of Cases that differ in nothing but their length."""
    groups: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for line in latest:
        shape = case_shape.shape_of(line["case"])
        if shape and shape.seqlen_q == shape.seqlen_kv:
            key = (who_of(line), shape.but_length)
            groups.setdefault(key, []).append((shape.seqlen_q, median_ms(line)))
    return {who: sorted(points) for (who, _), points in groups.items() if len(points) >= 3}


def slope_of(points: list[tuple[int, float]]) -> float:
    """The exponent of the upper half of the lengths, where the square is what counts."""
    upper = points[-max(2, (len(points) + 1) // 2) :]
    return math.log(upper[-1][1] / upper[0][1]) / math.log(upper[-1][0] / upper[0][0])


def draw_lengths(groups: dict[str, list[tuple[int, float]]]):
    def draw(axes, is_narrow):
        for at, (who, points) in enumerate(sorted(groups.items())):
            label = f"{who} (n^{slope_of(points):.2f})"
            axes.plot(*zip(*points), lw=1.2, label=label, **style(at))
        lengths = sorted({length for points in groups.values() for length, _ in points})
        lowest = min(ms / length**2 for points in groups.values() for length, ms in points)
        theory = [lowest * length**2 / 2 for length in (lengths[0], lengths[-1])]
        axes.plot(
            [lengths[0], lengths[-1]],
            theory,
            color=figures.INK,
            ls="--",
            lw=1,
            label="slope of theory: n^2",
        )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        labels = ["" if is_narrow and at % 2 else str(n) for at, n in enumerate(lengths)]
        axes.set_xticks(lengths, labels)
        axes.xaxis.set_minor_locator(NullLocator())
        plain_numbers(axes.yaxis, 8)
        axes.set_xlabel("rows and keys, n")
        axes.set_ylabel("ms a call")
        legend_above(axes, is_narrow)

    return draw


def on_the_roofline(latest: list[dict]) -> list[tuple[str, float, float, float, float]]:
    """(part and candidate, operations per byte, GFLOP/s, peak GFLOP/s, peak GB/s)."""
    found = []
    for line in latest:
        shape = case_shape.shape_of(line["case"])
        peak = line["yardsticks"].get("yardstick_fma_gflops")
        copy = line["yardsticks"].get("yardstick_copy_gbytes_per_s")
        if shape and peak and copy and line["part"] in ("forward", "plain_oracle", "fast_oracle"):
            name = f"{who_of(line)} {shape.dtype} {shape.seqlen_q}"
            rate = shape.flops / median_ms(line) * 1e-6
            found.append((name, shape.flops / shape.bytes_moved, rate, peak, copy))
    return found


def draw_roofline(points):
    """Rates against operations per byte, below what copying and multiply-adds allow."""

    def draw(axes, is_narrow):
        peak = max(point[3] for point in points)
        copy = max(point[4] for point in points)
        most = 4 * max(peak / copy, *(point[1] for point in points))
        least = min(peak / copy, *(point[1] for point in points)) / 4
        axes.plot(
            [least, peak / copy, most],
            [least * copy, peak, peak],
            color=figures.INK,
            lw=1.4,
            label=f"{peak:.0f} GFLOP/s in double, {copy:.0f} GB/s",
        )
        whos = sorted({point[0].rsplit(" ", 2)[0] for point in points})
        for at, who in enumerate(whos):
            mine = [point for point in points if point[0].rsplit(" ", 2)[0] == who]
            share = 100 * max(rate / top for _, _, rate, top, _ in mine)
            axes.plot(
                [point[1] for point in mine],
                [point[2] for point in mine],
                lw=0,
                label=f"{who} (up to {share:.2g} %)",
                **style(at),
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_numbers(axes.xaxis, 5 if is_narrow else 8)
        plain_numbers(axes.yaxis, 8)
        axes.set_xlabel("operations per byte read or written")
        axes.set_ylabel("GFLOP/s")
        legend_above(axes, is_narrow)

    return draw


def both(name: str, draw, height: float, entries: int) -> dict[str, str]:
    """As figures.both_widths, with room for a legend of one column on a phone."""
    wide, narrow = height + 0.2 * math.ceil(entries / 2), height + 0.2 * entries
    return figures.both_widths(name, draw, wide, narrow)


def html(
    machines: dict[str, list[tuple[str, list[dict], dict[str, list]]]], notes: list[str]
) -> str:
    """The page of `machines`: of each its series (metric, lines, change points by finder)."""
    sections = []
    for machine, series in machines.items():
        latest = [lines[-1] for _, lines, _ in series]
        lengths, roof = by_length(latest), on_the_roofline(latest)
        drawings = []
        if lengths:
            caption = (
                "Every point is the median of the latest run; beside each name the exponent over "
                "the upper half of its lengths."
            )
            drawing = both("lengths", draw_lengths(lengths), 3.6, len(lengths) + 1)
            drawings.append(("Cost against length", caption, drawing))
        if roof:
            caption = (
                "Multiply-adds of the two products, counted as two operations, whatever a part "
                "does beside them; against what the machine did in the same run."
            )
            whos = {name.rsplit(" ", 2)[0] for name, *_ in roof}
            drawing = both("roofline", draw_roofline(roof), 3.6, len(whos) + 1)
            drawings.append(("Share of the machine's peak", caption, drawing))
        for number, (metric, lines, found) in enumerate(series):
            if len(lines) >= RUNS_MIN:
                drawing = both(f"series {number}", draw_series(lines, found), 2.2, 3)
                drawings.append((metric, "", drawing))
        sections.append((machine, series, drawings))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            [str(pathlib.Path(__file__).parent), str(ROOT / "reports" / "templates")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("history.html.j2").render(
        sections=sections, notes=notes, median_ms=median_ms
    )
