#!/usr/bin/env python3
"""Continuous integration's question: is this commit slower than the one before?

    ci/perf.sh --ci [--base COMMIT]

Compares HEAD with its first parent on those lines of small.txt and counted.txt that both commits
have. A time that is slower is measured once more, by itself and with twice the rounds: only what is
slower both times, or takes more instructions, and no line of accepted.txt allows, is a regression.
Whatever keeps it from deciding (no commit before, a base that does not build or takes too long to,
a machine that differs from itself) is said in one sentence and fails nothing.

Exit codes: 0 no regression, 1 a confirmed regression, 2 bad usage, 77 not decided.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

import builds
import contest
import counts
import perf
import rule
from samples import InputError, RunError

NOT_DECIDED = 77  # CTest's word for a test that did not run
# What can change the speed of a metric: everything else needs no measurement.
TIMED = ["reference", "gpu", "distributed", "candidates", "ci/*.cpp", "ci/*.h", "CMakeLists.txt"]
TIMED += ["*/CMakeLists.txt", "ci/cmake"]


class NotDecided(Exception):
    """Why this run says nothing: a sentence."""


def say(words: str) -> None:
    print(f"perf: {words}", file=sys.stderr, flush=True)


def base_of(named: str | None) -> str:
    if named:
        return builds.commit_of(named)
    try:
        return builds.commit_of("HEAD~1")
    except InputError as error:
        raise NotDecided("there is no commit before this one here (a shallow clone?)") from error


def is_alike(base: str, head: str) -> bool:
    """Whether no file differs that is timed or says how to build."""
    different = builds.git("diff", "--name-only", base, head, "--", *TIMED).splitlines()
    return all(name.endswith(("_test.cpp", "_test.py", ".md")) for name in different)


def shared_metrics(base: str, head: str, file: str = "small.txt") -> list[str]:
    """Lines of a file in both commits: a build cannot time what it does not know."""
    name = f"ci/perf/{file}"
    try:
        texts = [builds.git("show", f"{commit}:{name}").splitlines() for commit in (base, head)]
    except InputError as error:
        raise NotDecided(f"the commit before has no {name}") from error
    shared = [line for line in texts[1] if line in texts[0] and line and not line.startswith("#")]
    if not shared:
        raise NotDecided(f"no line of {name} stands in both commits")
    return shared


def seconds_of_build(log: pathlib.Path, jobs: int) -> float:
    """What CMake's build of this tree took, if one core had done nothing else; 0 where unknown."""
    spent = {}
    try:
        lines = log.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        fields = line.split("\t")
        # Tests and device code are not built for a comparison.
        if len(fields) == 5 and fields[3].endswith(".o") and "_test" not in fields[3]:
            spent[fields[3]] = (int(fields[1]) - int(fields[0])) / 1000
    return sum(spent.values()) / jobs


def built(commits: dict[str, str], minutes: float) -> dict[str, pathlib.Path]:
    """Both builds, within their share of the time."""
    end = time.monotonic() + 60 * minutes
    missing = [one for one in commits.values() if not builds.command_at(one).exists()]
    estimate = seconds_of_build(builds.ROOT / "build" / ".ninja_log", builds.jobs())
    if missing and estimate * len(missing) > 60 * minutes:
        raise NotDecided(
            f"building {len(missing)} commits would take about {estimate * len(missing):.0f} s "
            f"and has {60 * minutes:.0f} s; a compiler cache (ccache) makes it quick"
        )
    try:
        return {
            who: builds.built_command(commit, say, end - time.monotonic())
            for who, commit in commits.items()
        }
    except builds.OutOfTime as error:
        raise NotDecided(
            f"{error} within {60 * minutes:.0f} s; another run goes on there"
        ) from None
    except InputError as error:
        raise NotDecided(str(error)) from error


def run_once(asked, commands, metrics, pairs: tuple[int, int], seed: int, minutes: float):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(metrics) + "\n")
        file.flush()
        effort = contest.Effort(
            pathlib.Path(file.name), asked.margin, *pairs, asked.seconds, minutes
        )
        try:
            run = contest.measured(effort, commands, seed, asked.slowdown, say)
        except RunError as error:
            raise NotDecided(f"a build could not be timed: {error}") from error
    if not run.is_usable:
        loud = sum(one.outcome in ("slower", "faster") for one in run.control)
        raise NotDecided(f"the base differs from itself in {loud} metrics: a machine too busy")
    return run


def counted_of(commits: dict[str, str], commands, slowdown: float) -> counts.Counted:
    try:
        metrics = shared_metrics(commits["base"], commits["head"], "counted.txt")
    except NotDecided as error:
        return counts.none_because(str(error))
    return counts.counted(commands, metrics, slowdown, say)


def slower(run, accepted: dict[str, tuple[float, str]]) -> list[rule.Ratio]:
    return [
        one
        for one in run.ratios
        if one.outcome == "slower"
        and not (one.metric in accepted and one.median <= accepted[one.metric][0])
    ]


def decide(asked) -> int:
    accepted = perf.accepted_regressions(asked.accepted)
    commits = {"base": base_of(asked.base), "head": builds.commit_of("HEAD")}
    words = f"{commits['head'][:12]} against {commits['base'][:12]}"
    if builds.git("status", "--porcelain", "--untracked-files=no"):
        say("the work tree differs from HEAD: only what is committed is judged")
    if asked.slowdown == 1 and is_alike(commits["base"], commits["head"]):
        print(f"perf: {words}: nothing that is timed differs")
        return 0
    metrics = shared_metrics(commits["base"], commits["head"])
    commands = built(commits, asked.minutes_build)
    begin = time.monotonic()
    counted = counted_of(commits, commands, asked.slowdown)
    print(*counted.facts, sep="\n")
    more = slower(counted, accepted)
    tell("more instructions", more)
    minutes = (asked.minutes - (time.monotonic() - begin) / 60) / 2
    try:
        found, words_times = slower_twice(asked, commands, metrics, accepted, minutes)
    except NotDecided as error:
        if not more:
            raise
        found, words_times = [], f"times are not decided: {error}"
    tell("slower twice", found)
    if found or more:
        print(f"perf: {words}: a line in ci/perf/accepted.txt with its reason would allow it")
        return 1
    print(f"perf: {words}: no regression in {words_times}")
    return 0


def tell(what: str, found: list[rule.Ratio]) -> None:
    for one in found:
        low, high, change = (100 * (value - 1) for value in (one.low, one.high, one.median))
        print(f"{what}: {change:+.1f} % [{low:+.1f}, {high:+.1f}]  {one.metric}")


def slower_twice(asked, commands, metrics: list[str], accepted, minutes: float):
    """What is slower in two comparisons, and in words what was compared."""
    run = run_once(asked, commands, metrics, (15, 45), 1, minutes)
    found = slower(run, accepted)
    undecided = sum(one.outcome == "undecided" for one in run.ratios)
    if found:
        say(f"{len(found)} slower; measured again: " + "; ".join(one.metric for one in found))
        again = [line for line in metrics if line in {one.metric for one in found}]
        try:
            second = run_once(asked, commands, again, (30, 45), 2, minutes)
        except NotDecided as error:
            raise NotDecided(
                f"{len(found)} slower once, but when measured again: {error}"
            ) from error
        both = {one.metric for one in slower(second, accepted)}
        found = [one for one in found if one.metric in both]
    if not found and undecided == len(run.ratios):
        raise NotDecided(f"no metric could be decided in {run.rounds} rounds: a machine too noisy")
    words = f"{len(run.ratios)} metrics"
    words += f", {undecided} of them undecided" if undecided else ""
    return found, f"{words} ({run.rounds} rounds)"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ci/perf.sh --ci",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", help="commit to hold HEAD against (default: its first parent)")
    parser.add_argument("--margin", type=float, default=rule.MARGINS["time"])
    parser.add_argument("--seconds", type=float, default=0.03)
    parser.add_argument("--minutes", type=float, default=5, help="for measuring")
    parser.add_argument("--minutes-build", type=float, default=5, help="for both builds")
    parser.add_argument("--slowdown", type=float, default=1.0, help="see ci/perf.sh --help")
    parser.add_argument("--accepted", type=pathlib.Path, default=perf.HERE / "accepted.txt")
    try:
        return decide(parser.parse_args())
    except NotDecided as error:
        print(f"not run: not decided: {error}")
        return NOT_DECIDED
    except InputError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # Python's own exit code for these is 1, which here says regression
        traceback.print_exc()
        print(f"not run: not decided: {type(error).__name__}: {error}")
        return NOT_DECIDED


if __name__ == "__main__":
    sys.exit(main())
