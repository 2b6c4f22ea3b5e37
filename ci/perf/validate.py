#!/usr/bin/env python3
"""Judges the gate like any candidate: how often it cries wolf, and how small a slowdown it finds.

    ci/perf.sh --validate                  25 minutes on an idle machine
    ci/perf.sh --validate --load           the same beside one busy loop per core
    ci/perf.sh --validate --table          only what has been seen so far
    ci/perf.sh --validate --record         also into reports/records and docs/performance.md

A trial is one whole comparison, as ci/perf.sh makes it, of a build with itself. Without a slowdown
whatever it finds is a false alarm; with one, the head makes that share of its calls twice. Every
trial is a line of build/perf/validation.jsonl; another run goes on where this one ended.

Exit codes: 0 all goals are met by the trials so far, 1 one is not, 2 bad usage or input, 3 there
are not trials enough yet.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import builds
import contest
import rule
from samples import InputError, RunError

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Trials by condition and slowdown. Beside other work the gate may stay undecided, not cry wolf.
TRIALS = {"idle": {1.0: 100, 1.03: 30, 1.05: 30, 1.10: 30}, "load": {1.0: 100}}
FOUND_MIN = {1.05: 0.9, 1.10: 1.0}
KEPT = builds.KEPT / "validation.jsonl"
RECORD = ROOT / "reports" / "records" / "perf_gate.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- validate.py: begin -->", "<!-- validate.py: end -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """What the trials of one condition and one slowdown say."""

    condition: str
    slowdown: float
    trials: int
    found: int  # the gate failed
    unusable: int  # the control differed from itself, so nothing was said
    undecided: int  # at least one metric stayed so, and none was slower
    metrics: int
    metrics_found: int
    rounds: float  # the mean
    seconds: float  # the mean

    @property
    def is_met(self) -> bool:
        if self.slowdown == 1:
            return self.found == 0
        return self.found >= self.trials * FOUND_MIN.get(self.slowdown, 0)


def rows_of(trials: list[dict]) -> list[Row]:
    rows = []
    for condition in ("idle", "load"):
        for slowdown in TRIALS[condition]:
            mine = [
                one
                for one in trials
                if (one["condition"], one["slowdown"]) == (condition, slowdown)
            ]
            if not mine:
                continue
            outcomes = [ratio["outcome"] for one in mine for ratio in one["ratios"]]
            rows.append(
                Row(
                    condition,
                    slowdown,
                    len(mine),
                    sum(one["code"] == 1 for one in mine),
                    sum(one["code"] == 3 for one in mine),
                    sum(
                        one["code"] == 0
                        and any(ratio["outcome"] == "undecided" for ratio in one["ratios"])
                        for one in mine
                    ),
                    len(outcomes),
                    outcomes.count("slower"),
                    sum(one["rounds"] for one in mine) / len(mine),
                    sum(one["seconds"] for one in mine) / len(mine),
                )
            )
    return rows


def table(rows: list[Row]) -> str:
    lines = [
        "| machine | slowdown | trials | gate fails | metrics slower | undecided | unusable "
        "| rounds | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        slowdown = "none (A/A)" if row.slowdown == 1 else f"{100 * (row.slowdown - 1):.0f} %"
        lines.append(
            f"| {row.condition} | {slowdown} | {row.trials} | {row.found} | {row.metrics_found} of "
            f"{row.metrics} | {row.undecided} | {row.unusable} | {row.rounds:.1f} | "
            f"{row.seconds:.1f} |"
        )
    return "\n".join(lines)


def next_trial(trials: list[dict], condition: str) -> float | None:
    """The slowdown whose share of its trials is smallest: whenever it ends, each has some."""
    wanted = TRIALS[condition]
    counts = {slowdown: 0 for slowdown in wanted}
    for one in trials:
        if one["condition"] == condition and one["slowdown"] in wanted:
            counts[one["slowdown"]] += 1
    left = [slowdown for slowdown in wanted if counts[slowdown] < wanted[slowdown]]
    return min(left, key=lambda slowdown: counts[slowdown] / wanted[slowdown], default=None)


def read_trials(file: pathlib.Path) -> list[dict]:
    if not file.is_file():
        return []
    trials = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            one = json.loads(line)
            one["condition"], one["slowdown"], one["code"], one["ratios"], one["rounds"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file}:{number}: no trial of this script; delete the line"
            ) from error
        trials.append(one)
    return trials


@contextlib.contextmanager
def busy_loops(count: int):
    """`count` processes that use a core each while the work within runs."""
    # Each ends by itself when this process is gone, however that ended.
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def trial(asked, command: pathlib.Path, slowdown: float, condition: str, seed: int) -> dict:
    effort = contest.Effort(
        asked.metrics, asked.margin, asked.pairs, asked.pairs_max, asked.seconds, 60.0
    )
    start = time.monotonic()
    run = contest.measured(
        effort, {"base": command, "head": command}, seed, slowdown, lambda words: None
    )
    return {
        "condition": condition,
        "slowdown": slowdown,
        "code": contest.exit_code(run, [one.outcome for one in run.ratios], False),
        "rounds": run.rounds,
        "seconds": round(time.monotonic() - start, 2),
        "load": os.getloadavg()[0],
        "ratios": [dataclasses.asdict(one) for one in run.ratios],
        "control": [dataclasses.asdict(one) for one in run.control],
        "samples_ms": run.samples,
    }


def run_trials(asked, command: pathlib.Path) -> None:
    condition = "load" if asked.load else "idle"
    end = time.monotonic() + 60 * asked.minutes
    with busy_loops(os.cpu_count() if asked.load else 0):
        while time.monotonic() < end:
            trials = read_trials(asked.file)
            slowdown = next_trial(trials, condition)
            if slowdown is None:
                break
            done = trial(asked, command, slowdown, condition, seed=len(trials) + 1)
            asked.file.parent.mkdir(parents=True, exist_ok=True)
            with asked.file.open("a") as out:
                out.write(json.dumps(done) + "\n")
            count = sum(one["condition"] == condition for one in trials) + 1
            words = ", ".join(f"{one['median']:.3f} {one['outcome']}" for one in done["ratios"])
            total = sum(TRIALS[condition].values())
            print(
                f"validate: {condition} {count} of {total}: slowdown {slowdown:g}, "
                f"{done['rounds']} rounds, {done['seconds']:.1f} s: {words}",
                file=sys.stderr,
                flush=True,
            )


def record(asked, rows: list[Row]) -> None:
    """The figures into the record, and the table into the page between its marks."""
    page = PAGE.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise InputError(f"'{PAGE}' lacks the marks '{BEGIN}' and '{END}'; put them back")
    settings = {
        "metrics": [
            line
            for line in asked.metrics.read_text().splitlines()
            if line and not line.startswith("#")
        ],
        "margin": asked.margin,
        "pairs": [asked.pairs, asked.pairs_max],
        "seconds": asked.seconds,
        "cores": os.cpu_count(),
    }
    facts = {"schema_version": 1, **settings, "rows": [dataclasses.asdict(row) for row in rows]}
    RECORD.write_text(json.dumps(facts, indent=1) + "\n")
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}")


def arguments():
    parser = argparse.ArgumentParser(
        prog="ci/perf.sh --validate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--load", action="store_true", help="beside a busy loop on every core")
    parser.add_argument("--minutes", type=float, default=25, help="begin no trial after these")
    parser.add_argument("--table", action="store_true", help="run nothing, show what there is")
    parser.add_argument("--record", action="store_true", help="write the figures into the tree")
    parser.add_argument("--commit", default="HEAD", help="whose build is held against itself")
    parser.add_argument("--command", type=pathlib.Path, help="a built ringproof instead")
    parser.add_argument("--metrics", type=pathlib.Path, default=HERE / "validate.txt")
    parser.add_argument("--margin", type=float, default=rule.MARGINS["time"])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--pairs-max", type=int, default=45)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--file", type=pathlib.Path, default=KEPT, help="where trials are kept")
    return parser.parse_args()


def validate(asked) -> int:
    read_trials(asked.file)
    if not asked.table:
        commit = None if asked.command else builds.commit_of(asked.commit)
        command = asked.command or builds.built_command(
            commit, lambda words: print(f"validate: {words}", file=sys.stderr)
        )
        run_trials(asked, command)
    rows = rows_of(read_trials(asked.file))
    if not rows:
        raise InputError(f"'{asked.file}' holds no trial; run ci/perf.sh --validate first")
    print(table(rows))
    if asked.record:
        record(asked, rows)
        print(f"written: {RECORD.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")
    if not all(row.is_met for row in rows):
        return 1
    return 0 if all(row.trials >= TRIALS[row.condition][row.slowdown] for row in rows) else 3


def main() -> int:
    try:
        return validate(arguments())
    except (InputError, OSError) as error:
        print(f"validate: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"validate: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("validate: interrupted; what is finished is kept, run it again", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
