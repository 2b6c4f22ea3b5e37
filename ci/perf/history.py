#!/usr/bin/env python3
"""The history of every metric: one JSON line per metric and run, and where a series changed.

    ringproof bench history                              every series with its change points
    ringproof bench history add now.json                 append the run of `ringproof bench --json`
    ringproof bench history --file mine.jsonl --page history.html       and as pictures

Lines are only ever appended. A series is one metric on one machine (fingerprint); others are never
compared with it. A change point is a step beyond what the series does anyway (ci/perf/fence.py);
where Apache Otava is installed ($OTAVA, or in the path), its change points stand beside these.

Exit codes: 0 shown or added, 2 bad usage or input.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import statistics
import sys

import fence
import otava
from samples import InputError, RunError, context_of, fingerprint_of, read_samples

SCHEMA_VERSION = 1
ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "reports" / "records" / "performance.jsonl"


def lines_of(file: pathlib.Path, written: str) -> list[dict]:
    """What the history keeps of one run: a line per metric, raw samples included."""
    context = context_of(file)
    fingerprint = fingerprint_of(context)
    yardsticks = {n: float(v) for n, v in context.items() if n.startswith("yardstick_")}
    commit = context.get("ringproof_commit", "unknown")
    lines = []
    for metric, times in read_samples(file).items():
        part, *candidate, case = metric.split()
        lines.append(
            {
                "schema_version": SCHEMA_VERSION,
                "written": written,
                "measured": context.get("date", "unknown"),
                "commit": commit.removesuffix("-dirty"),
                "dirty": commit.endswith("-dirty"),
                "metric": metric,
                "part": part,
                "candidate": candidate[0] if candidate else "",
                "case": case,
                "unit": "ms",
                "direction": "smaller is better",
                "samples": times,
                "timer": "wall clock around the call",
                "verdict": "accepted" if candidate else "",
                "fingerprint": fingerprint,
                "load": context.get("load_avg", []),
                "yardsticks": yardsticks,
            }
        )
    return lines


def read_history(file: pathlib.Path) -> list[dict]:
    """The lines in order. Raises InputError naming the first that is none."""
    if not file.is_file():
        raise InputError(f"'{file}' is no file; `ringproof bench history add RUN.json` begins one")
    lines = []
    for number, text in enumerate(file.read_text().splitlines(), 1):
        try:
            line = json.loads(text)
            version = line["schema_version"]
            line["metric"], line["samples"][0], line["fingerprint"], line["commit"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{file}:{number}: no line of a history") from error
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{file}:{number}: schema version {version}; this version reads {SCHEMA_VERSION}"
            )
        lines.append(line)
    return lines


def series_of(lines: list[dict]) -> dict[tuple[str, str], list[dict]]:
    """Lines of one metric and one machine, in the order they were appended."""
    series: dict[tuple[str, str], list[dict]] = {}
    for line in lines:
        machine = ", ".join(
            f"{name} {value}" for name, value in sorted(line["fingerprint"].items())
        )
        series.setdefault((machine, line["metric"]), []).append(line)
    return series


def add(asked) -> None:
    written = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    lines = lines_of(asked.run, written)
    asked.file.parent.mkdir(parents=True, exist_ok=True)
    with asked.file.open("a") as out:  # one write: a line is whole or not there
        out.write("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{len(lines)} metrics added to {asked.file}")


def changes_of(series: list[list[float]]) -> tuple[list[dict[str, list]], str]:
    """Of each series its change points by finder, and a word on Otava."""
    found: list[dict[str, list]] = [{"fence": fence.change_points(one)} for one in series]
    if otava.program() is None:
        return found, "Apache Otava is not installed: change points of the fence alone"
    try:
        for mine, points in zip(found, otava.change_points(series)):
            mine["Otava"] = points
    except RunError as error:
        return found, f"change points of the fence alone: {error}"
    return found, "change points of the fence and of Apache Otava"


def show(asked) -> None:
    series = sorted(series_of(read_history(asked.file)).items())
    medians = [[statistics.median(line["samples"]) for line in lines] for _, lines in series]
    changes, note = changes_of(medians)
    machines: dict[str, list] = {}
    for ((machine, metric), lines), times, found in zip(series, medians, changes):
        if machine not in machines:
            print(machine)
        machines.setdefault(machine, []).append((metric, lines, found))
        print(f"  {times[-1]:>10.3f} ms  {len(lines):>4} runs  {metric}")
        for finder, points in found.items():
            for one in points:
                change, commit = 100 * (one.ratio - 1), lines[one.index]["commit"]
                print(f"             {change:+.1f} % at {commit} ({finder})")
    print(note)
    if asked.page:
        import history_page  # Matplotlib takes a second

        asked.page.write_text(history_page.html(machines, [note]))
        print(f"page: {asked.page}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ringproof bench history",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=["show", "add"], default="show")
    parser.add_argument("run", nargs="?", type=pathlib.Path, help="of add: the run's JSON file")
    parser.add_argument("--file", type=pathlib.Path, default=KEPT, help="the history")
    parser.add_argument("--page", type=pathlib.Path, help="HTML file with pictures to write")
    asked = parser.parse_args()
    if asked.what == "add" and asked.run is None:
        parser.error("add needs the JSON file of a run")
    try:
        (add if asked.what == "add" else show)(asked)
    except (InputError, OSError) as error:
        print(f"ringproof bench history: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
