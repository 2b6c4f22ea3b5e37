"""Builds a commit of this repository beside the work tree, once: build/perf/<commit>."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

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


def built_command(commit: str, said) -> pathlib.Path:
    """The `ringproof` of a commit, built if it is not there yet.

    Raises InputError for a commit that does not build, naming the log. The build stands inside its
    source as every build of this project does, so that a compiler cache knows what both share.
    """
    source = KEPT / commit[:12]
    command = source / "build" / "bin" / "ringproof"
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
    with log.open("w") as out:
        for step in steps:
            done = subprocess.run(step, stdout=out, stderr=subprocess.STDOUT, env=environment)
            if done.returncode != 0:
                raise InputError(f"commit {commit[:12]} does not build; its log is {log}")
    return command


def jobs() -> int:
    return int(os.environ.get("RINGPROOF_JOBS", os.cpu_count() or 1))
