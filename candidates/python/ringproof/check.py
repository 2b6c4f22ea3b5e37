"""`check`: a callable of this process, judged by the ringproof command over the worker protocol.

The command makes inputs, reference and verdict in a process of its own; this process is its worker,
so a crash of the callable ends it. `ringproof gate --candidate python:module:callable` isolates
instead.
"""

from __future__ import annotations

import pathlib
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from ringproof.binary import binary
from ringproof.description import BadInput, Description, description_of_fields
from ringproof.verdict import Verdict, read_verdict
from ringproof.server import Callee, Server

TIERS = ("fast", "full", "nightly")
_END_SECONDS_MAX = 60  # the command writes its records after Ctrl-C


def check(
    fn: Callable[..., Any] | str,
    cases: str | Iterable[str] = "fast",
    *,
    out: str | pathlib.Path | None = None,
    seed: int | None = None,
    shrink: bool = True,
    allow_unsupported: int = 0,
    progress: bool = False,
    **description: Any,
) -> Verdict:
    """Judges `fn(q, k, v, problem)` -> out or (out, lse) and returns the Verdict (true: accepted).

    cases: "fast", "full" or "nightly", or Case lines. out: folder that keeps results.jsonl and
    junit.xml. Further keywords are fields of Description, over what `@ringproof.describe` said.
    fn may be the name of a candidate ("mlx:sdpa", "./libmine.so"): it then has its own process.
    Raises BadInput for what the command refuses, NoBinary where there is no command.
    """
    options = [*_case_options(cases), "--allow-unsupported", str(allow_unsupported)]
    options += ["--seed", str(seed)] if seed is not None else []
    options += [] if shrink else ["--no-shrink"]
    with tempfile.TemporaryDirectory(prefix="ringproof-") as scratch:
        folder = pathlib.Path(out) if out is not None else pathlib.Path(scratch)
        run = _Run(folder, options, progress)
        if isinstance(fn, str):
            if description:
                raise BadInput(f"'{fn}' describes itself; give no {', '.join(description)}")
            return run.of_name(fn)
        base = getattr(fn, "ringproof_description", Description())
        name = getattr(fn, "__name__", type(fn).__name__)
        fields = {"name": base.name or name, **description}
        return run.of_callable(Callee(fn, description_of_fields(fields, base)), name)


def _case_options(cases: str | Iterable[str]) -> list[str]:
    if isinstance(cases, str) and "/" not in cases:
        if cases not in TIERS:
            raise BadInput(f"cases knows {', '.join(TIERS)} and Case lines, not '{cases}'")
        return ["--tier", cases]
    lines = [cases] if isinstance(cases, str) else list(cases)
    if not lines:
        raise BadInput("cases holds no Case line; give one, or a tier")
    return [word for line in lines for word in ("--case", line)]


class _Run:
    """One run of the command and what it leaves in `folder`."""

    def __init__(self, folder: pathlib.Path, options: list[str], progress: bool) -> None:
        self._folder = folder
        self._command = [binary(), "gate", *options, "--out", str(folder)]
        self._progress = progress

    def of_name(self, name: str) -> Verdict:
        process = self._start(["--candidate", name])
        self._end(process)
        rerun = f'ringproof.check({name!r}, cases="{{case}}")'
        return self._verdict(process, name, "ran in a process of its own", rerun)

    def of_callable(self, callee: Callee, shown: str) -> Verdict:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._start(["--worker-fd", str(theirs.fileno())], theirs.fileno())
            server = Server(ours, lambda: callee, is_guest=True)
            try:
                server.serve()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the command has ended; its exit code says how
            except BaseException:
                process.send_signal(signal.SIGINT)  # it keeps what was finished
                ours.close()
                self._end(process)
                raise
        self._end(process)
        isolation = "ran in this process: no isolation, no limit of time or memory"
        rerun = f'ringproof.check({shown}, cases="{{case}}")'
        verdict = self._verdict(process, callee.description.name, isolation, rerun, server)
        return verdict

    def _start(self, options: list[str], descriptor: int | None = None) -> subprocess.Popen[bytes]:
        self._said = tempfile.TemporaryFile()
        return subprocess.Popen(
            [*self._command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if self._progress else self._said,
            pass_fds=() if descriptor is None else (descriptor,),
            start_new_session=True,  # Ctrl-C reaches it through this process alone
        )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise

    def _verdict(
        self,
        process: subprocess.Popen[bytes],
        name: str,
        isolation: str,
        rerun: str,
        server: Server | None = None,
    ) -> Verdict:
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        self._said.close()
        if process.returncode == 2:
            raise BadInput(said.removeprefix("ringproof: ") or "the command refused its input")
        reasons = []
        if process.returncode < 0:
            reasons.append(f"the ringproof command ended by signal {-process.returncode}: {said}")
        return read_verdict(
            self._folder / "results.jsonl",
            candidate=name,
            exit_code=process.returncode,
            isolation=isolation,
            rerun=rerun,
            notes=server.notes if server else (),
            reasons=reasons,
            traceback=server.traceback if server else "",
        )
