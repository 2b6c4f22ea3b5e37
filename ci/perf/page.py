"""What a comparison says: a table for the terminal, Markdown for a pull request, a page."""

from __future__ import annotations

import pathlib
import sys

import jinja2

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "reports"))
import figures  # noqa: E402

import counts  # noqa: E402
import pairs  # noqa: E402
import rule  # noqa: E402

SYMBOLS = {"slower": "▲", "faster": "▼", "same": "=", "undecided": "?", "accepted": "✓"}


def percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def interval(one: rule.Ratio) -> str:
    return f"[{percent(one.low)}, {percent(one.high)}]"


def change(row: dict) -> str:
    """Counts repeat, so that their hundredths of a percent say something."""
    return f"{100 * (row['ratio'].median - 1):+.{2 if row['is_count'] else 1}f} %"


def short_metric(metric: str) -> str:
    """Part and candidate in words, the Case by its dtype, shape and mask."""
    *words, line = metric.split()
    fields = line.split("/")
    return " ".join(words) + " " + " ".join([*fields[1:4], *fields[7:8]])


def median(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def outcome_of(one: rule.Ratio, accepted: dict[str, str]) -> str:
    is_accepted = one.outcome == "slower" and one.metric in accepted
    return "accepted" if is_accepted else one.outcome


def quantity(metric: str, value: float) -> str:
    """A value with its unit: milliseconds, or millions of instructions."""
    return f"{value / 1e6:.3f} M" if metric.startswith(counts.PREFIX) else f"{value:.3f} ms"


def rows_of(run, counted: counts.Counted, accepted: dict[str, str]) -> list[dict]:
    """One row a metric, the worst news first."""
    control = {one.metric: one for one in run.control}
    rows = [
        {
            "metric": one.metric,
            "short": short_metric(one.metric),
            "base": quantity(one.metric, median(samples["base"][one.metric])),
            "head": quantity(one.metric, median(samples["head"][one.metric])),
            "ratio": one,
            "is_count": samples is counted.samples,
            "control": control.get(one.metric),
            "outcome": (outcome_of(one, accepted)),
            "reason": accepted.get(one.metric, ""),
        }
        for samples, ratios in ((run.samples, run.ratios), (counted.samples, counted.ratios))
        for one in ratios
    ]
    return sorted(
        rows, key=lambda row: (pairs.OUTCOMES.index(row["outcome"]), -row["ratio"].median)
    )


COLUMNS = ("metric", "base", "head", "change", "95 % interval", "outcome")


def cells(row: dict) -> list[str]:
    one = row["ratio"]
    return [row["short"], row["base"], row["head"], change(row), interval(one), row["outcome"]]


def table(rows: list[dict]) -> str:
    if not rows:
        return ""
    lines = [list(COLUMNS), *map(cells, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    symbols = [" ", *(SYMBOLS[row["outcome"]] for row in rows)]
    aligned = [
        "  ".join(
            text.rjust(width) if 1 <= at <= 3 else text.ljust(width)
            for at, (text, width) in enumerate(zip(line, widths))
        )
        for line in lines
    ]
    return "\n".join(f"{symbol} {line}".rstrip() for symbol, line in zip(symbols, aligned))


def markdown(headline: str, facts: list[str], rows: list[dict]) -> str:
    lines = [f"### {headline}", "", *facts, "", "| | " + " | ".join(COLUMNS) + " |"]
    lines.append("| --- | --- | ---: | ---: | ---: | --- | --- |")
    lines += [f"| {SYMBOLS[row['outcome']]} | " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def label_of(metric: str) -> str:
    """Part and candidate, without the Case and the unit."""
    words = metric.removeprefix(counts.PREFIX).split()
    return " ".join(words[:-1]) or metric


def draw_ratios(rows: list[tuple[int, dict]], margin: float):
    """Ratio and interval of each metric, its control below it, the margin as a band.

    On a phone a metric is its number in the table below.
    """

    def draw(axes, is_narrow):
        axes.axvspan(-100 * margin, 100 * margin, color=figures.FAINT, alpha=0.5, lw=0)
        axes.axvline(0, color=figures.INK, lw=0.8)
        for at, (_, row) in enumerate(rows):
            for one, offset, colour, size in (
                (row["control"], 0.22, figures.BAR, 3),
                (
                    row["ratio"],
                    -0.12,
                    figures.REJECTED if row["outcome"] == "slower" else figures.INK,
                    5,
                ),
            ):
                if one is None:
                    continue
                x, low, high = (100 * (value - 1) for value in (one.median, one.low, one.high))
                axes.plot([low, high], [at + offset] * 2, color=colour, lw=1.4)
                axes.plot([x], [at + offset], "o", color=colour, ms=size)
        labels = [
            f"{number}" if is_narrow else f"{label_of(row['metric'])}  {number}"
            for number, row in rows
        ]
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("change of head against base, %")

    return draw


def html(headline: str, outcome: str, facts: list[str], rows: list[dict], margin: float) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            [str(pathlib.Path(__file__).parent), str(ROOT / "reports" / "templates")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    numbered = list(enumerate(rows, 1))
    drawings = {
        name: figures.both_widths(name, draw_ratios(mine, edge), 0.8 + 0.36 * len(mine))
        for name, is_count, edge in (
            ("time", False, margin),
            ("instructions", True, rule.MARGINS["instructions"]),
        )
        if (mine := [(number, row) for number, row in numbered if row["is_count"] == is_count])
    }
    return environment.get_template("page.html.j2").render(
        headline=headline,
        outcome=outcome,
        facts=facts,
        rows=rows,
        drawings=drawings,
        change=change,
        symbols=SYMBOLS,
        interval=interval,
    )
