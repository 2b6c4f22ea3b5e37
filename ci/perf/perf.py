#!/usr/bin/env python3
"""Compares the speed of two commits on this machine, by turns, and says so with statistics.

    ci/perf.sh HEAD~1 HEAD                    the small set
    ci/perf.sh main my-branch --metrics mine.txt --out build/perf/report
    ci/perf.sh HEAD HEAD --slowdown 1.05      sees whether this machine shows 5 %
    ci/perf.sh --validate                     how often this gate errs here (validate.py)
    ci/perf.sh --ci                           what CI asks: HEAD against the commit before (gate.py)

Exit codes: 0 no regression, 1 regression, 2 bad usage or input, 3 unusable (the base differs from
itself here), interrupted, or undecided with --strict.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import platform
import sys
import traceback

import builds
import contest
import counts
import pairs
import rule
from samples import InputError, RunError

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(
        prog="ci/perf.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="commit to hold the head against")
    parser.add_argument("head", help="commit that may be slower")
    parser.add_argument(
        "--metrics", type=pathlib.Path, default=HERE / "small.txt", help="file of metric lines"
    )
    parser.add_argument(
        "--counted",
        type=pathlib.Path,
        default=HERE / "counted.txt",
        help="file of metrics whose instructions are counted (valgrind)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=rule.MARGINS["time"],
        help="change nothing is said about (default: %(default)s)",
    )
    parser.add_argument(
        "--pairs", type=int, default=15, help="least number of rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--pairs-max", type=int, default=45, help="rounds while undecided (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.03,
        help="least measured time of a metric per process (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=builds.ROOT / "build" / "perf" / "report",
        help="folder of perf.html, perf.md and perf.json",
    )
    parser.add_argument(
        "--accepted",
        type=pathlib.Path,
        default=HERE / "accepted.txt",
        help="file of accepted regressions",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit 3 where a metric stays undecided"
    )
    parser.add_argument(
        "--slowdown",
        type=float,
        default=1.0,
        help="let the head repeat this share of its calls (1.05: 5 %%), to see what is found",
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="no further rounds after these"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order of processes")
    return parser.parse_args()


def accepted_regressions(file: pathlib.Path) -> dict[str, tuple[float, str]]:
    """Metric -> largest accepted ratio and reason."""
    found = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        try:
            metric, ratio, reason = parts
            found[metric] = (float(ratio), reason)
        except ValueError as error:
            raise InputError(f"{file}:{number}: wanted <metric>|<ratio>|<reason>") from error
        if not reason:
            raise InputError(f"{file}:{number}: an accepted regression needs a reason")
    return found


def say(words: str) -> None:
    print(f"perf: {words}", file=sys.stderr, flush=True)


def exit_code(run: pairs.PairRun, rows: list[dict], strict: bool) -> int:
    """As of the times; more instructions are a regression on any machine, however busy."""
    if any(row["outcome"] == "slower" for row in rows if row["is_count"]):
        return 1
    times = [row["outcome"] for row in rows if not row["is_count"]]
    code = contest.exit_code(run, times, strict)
    is_open = any(row["outcome"] == "undecided" for row in rows if row["is_count"])
    return 3 if code == 0 and strict and is_open else code


def headline_of(code: int, run: pairs.PairRun, rows: list[dict]) -> tuple[str, str]:
    if not run.is_usable:
        loud = sum(one.outcome in ("slower", "faster") for one in run.control)
        words = f"the base differs from itself in {loud} of {len(run.control)} times"
        if code == 1:
            return f"More instructions; of times nothing can be said: {words}", "rejected"
        return f"Unusable: {words}", "inconclusive"
    if not rows:
        return "Nothing to compare: no metric that both commits time", "inconclusive"
    each = {word: sum(row["outcome"] == word for row in rows) for word in pairs.OUTCOMES}
    words = ", ".join(f"{count} {word}" for word, count in each.items() if count)
    if code == 1:
        return f"Slower: {words}", "rejected"
    return f"{'No regression' if code == 0 else 'Undecided'}: {words}", (
        "accepted" if code == 0 else "inconclusive"
    )


def write(out: pathlib.Path, name: str, text: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / (name + ".part")
    part.write_text(text)
    part.replace(out / name)


def compare(asked) -> int:
    accepted = accepted_regressions(asked.accepted)
    if not asked.metrics.is_file():
        raise InputError(f"'{asked.metrics}' is no file; give --metrics one of metric lines")
    if not 2 <= asked.pairs <= asked.pairs_max:
        raise InputError("--pairs must be at least 2 and at most --pairs-max")
    if not 1 <= asked.slowdown <= 2:
        raise InputError("--slowdown must lie between 1 and 2: the head's calls are repeated")
    metrics_counted = counts.metric_lines(asked.counted)
    commits = {"base": builds.commit_of(asked.base), "head": builds.commit_of(asked.head)}
    commands = {who: builds.built_command(commit, say) for who, commit in commits.items()}
    load_before = os.getloadavg()[0]
    effort = contest.Effort(
        asked.metrics, asked.margin, asked.pairs, asked.pairs_max, asked.seconds, asked.minutes
    )
    run = contest.measured(effort, commands, asked.seed, asked.slowdown, say)
    counted = counts.counted(commands, metrics_counted, asked.slowdown, say)
    facts = [
        f"base {commits['base'][:12]}, head {commits['head'][:12]}; {run.rounds} rounds of base, "
        f"head and control; margin {100 * asked.margin:g} %",
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load "
        f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after",
        *filter(None, [contest.overhead_of(effort, commands["head"])]),
        *counted.facts,
    ]
    if asked.slowdown != 1:
        facts.append(f"the head repeats {100 * (asked.slowdown - 1):g} % of its calls, as asked")
    return report(asked, commits, run, counted, accepted, facts)


def report(
    asked, commits, run: pairs.PairRun, counted: counts.Counted, accepted, facts: list[str]
) -> int:
    import page  # Matplotlib takes a second; what is refused needs none

    taken = {
        one.metric: accepted[one.metric][1]
        for one in [*run.ratios, *counted.ratios]
        if one.metric in accepted and one.median <= accepted[one.metric][0]
    }
    rows = page.rows_of(run, counted, taken)
    code = exit_code(run, rows, asked.strict)
    headline, outcome = headline_of(code, run, rows)
    record = {
        "commits": commits,
        "margin": asked.margin,
        "samples_ms": run.samples,
        "instructions": counted.samples,
        "instructions_not_run": counted.not_run,
        "exit_code": code,
    }
    write(asked.out, "perf.json", json.dumps(record, indent=1))
    write(asked.out, "perf.md", page.markdown(headline, facts, rows))
    write(asked.out, "perf.html", page.html(headline, outcome, facts, rows, asked.margin))
    print(page.table(rows), *facts, f"{headline}; page: {asked.out / 'perf.html'}", sep="\n")
    return code


def main() -> int:
    try:
        return compare(arguments())
    except (InputError, OSError) as error:
        print(f"perf: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("perf: interrupted before it could decide", file=sys.stderr)
        return 3
    except Exception:  # Python's own exit code for these is 1, which here says regression
        traceback.print_exc()
        return 3


if __name__ == "__main__":
    sys.exit(main())
