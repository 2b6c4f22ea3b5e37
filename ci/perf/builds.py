"""Builds a commit of this repository beside the work tree, once: build/perf/<commit>."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import time

from samples import InputError

ROOT = pathlib.Path(
    os.environ.get("RINGPROOF_PERF_ROOT") or pathlib.Path(__file__).resolve().parents[2]
)
KEPT = ROOT / "build" / "perf"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise InputError(f"git {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def commit_of(name: str) -> str:
    """The full commit that `name` stands for. Raises InputError naming an unknown one."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise InputError(f"'{name}' is no commit of this repository; name one, a branch or HEAD~1")
    return done.stdout.strip()


class OutOfTime(Exception):
    """A build that took longer than it was given."""


def command_at(commit: str) -> pathlib.Path:
    """Where the `ringproof` of a commit is, or would be."""
    return KEPT / commit[:12] / "build" / "bin" / "ringproof"


def built_command(commit: str, said, seconds_max: float | None = None) -> pathlib.Path:
    """The `ringproof` of a commit, built if it is not there yet.

    Raises InputError for a commit that does not build, naming the log; OutOfTime. The build stands
    inside its source as every build of this project does, so that a compiler cache knows what both
    share.
    """
    source = KEPT / commit[:12]
    command = command_at(commit)
    if command.exists():
        return command
    said(f"building {commit[:12]}")
    KEPT.mkdir(parents=True, exist_ok=True)
    log = KEPT / f"{commit[:12]}.log"
    if not source.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", "--force", str(source), commit)
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DRINGPROOF_CUDA=OFF", "-DRINGPROOF_TESTS=OFF"]
    if shutil.which("ccache"):
        options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    environment = {**os.environ, "CCACHE_BASEDIR": str(source), "CCACHE_NOHASHDIR": "1"}
    steps = [
        ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(source / "build"), *options],
        [
            "cmake",
            "--build",
            str(source / "build"),
            "--parallel",
            str(jobs()),
            "--target",
            "ringproof",
        ],
    ]
    end = None if seconds_max is None else time.monotonic() + seconds_max
    with log.open("w") as out:
        for step in steps:
            code = run_until(step, end, stdout=out, stderr=subprocess.STDOUT, env=environment)
            if code is None:
                raise OutOfTime(f"commit {commit[:12]} was not built")
            if code != 0:
                raise InputError(f"commit {commit[:12]} does not build; its log is {log}")
    return command


def run_until(command: list[str], end: float | None, **more) -> int | None:
    """The exit code; None where it was ended, with all that it started, at `end`."""
    process = subprocess.Popen(command, start_new_session=True, **more)
    try:
        return process.wait(None if end is None else max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:  # Ctrl-C included: what stands in a session of its own hears of it from nobody else
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def jobs() -> int:
    return int(os.environ.get("RINGPROOF_JOBS", os.cpu_count() or 1))
