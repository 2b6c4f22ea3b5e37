"""The Python end of the worker protocol (candidates/protocol.md), for one callable.

The parent owns seeds, inputs, reference, clock and verdict; what runs here sees inputs in shared
memory, read-only, and returns outputs. One question a line, one answer a line.
"""

from __future__ import annotations

import array
import json
import pathlib
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringproof import arrays
from ringproof.description import BadInput, Description, NotHere, Unsupported
from ringproof.problem import DTYPES, problem_of

OK, UNSUPPORTED, ERROR = 0, 1, 2  # enum rp_status
PROTOCOL = 1
_LINE_BYTES_MAX = 64 << 20
_DESCRIPTORS_MAX = 64  # of one message of the socket


@dataclass(frozen=True)
class Callee:
    """What is judged: `fn(q, k, v, problem)` returns out, or (out, lse)."""

    fn: Callable[..., Any]
    description: Description


class Link:
    """Lines and descriptors over one end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._bytes = bytearray()
        self._descriptors: list[int] = []

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next question with its descriptors; None when the parent has left."""
        while (newline := self._bytes.find(b"\n")) < 0:
            room = socket.CMSG_SPACE(_DESCRIPTORS_MAX * 4)
            data, extra, _, _ = self._end.recvmsg(1 << 16, room)
            for level, kind, payload in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                    self._descriptors.extend(numbers)
            if not data:
                return None
            self._bytes += data
            if len(self._bytes) > _LINE_BYTES_MAX:
                raise OSError("the parent sent a line of more than 64 MiB")
        line = bytes(self._bytes[:newline])
        del self._bytes[: newline + 1]
        descriptors, self._descriptors = self._descriptors, []
        return json.loads(line), descriptors

    def send(self, answer: dict[str, Any]) -> None:
        self._end.sendall(json.dumps(answer).encode() + b"\n")


class Server:
    """Answers a parent's questions with one callable, until the parent leaves."""

    def __init__(
        self, end: socket.socket, callee: Callable[[], Callee], *, is_guest: bool = False
    ) -> None:
        """`callee` may raise BadInput or NotHere: that is then the answer to `describe`.

        A guest shares its process with others: inputs are then private copies, so that writing to
        them is an error of the call and not the end of the process.
        """
        self._link = Link(end)
        self._find = callee
        self._callee: Callee | None = None
        self._regions = arrays.Regions(is_private=is_guest)
        self.traceback = ""  #: of the first exception of the callable

    @property
    def notes(self) -> tuple[str, ...]:
        """What its description wants shown with the verdict."""
        return self._callee.description.notes if self._callee else ()

    def serve(self) -> None:
        while (question := self._link.receive()) is not None:
            message, descriptors = question
            self._link.send(self._answer(message, descriptors))

    def _answer(self, message: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        if message["ask"] == "describe":
            return self._describe(message)
        for number in message.get("unmap", []):
            self._regions.unmap(number)
        for region, descriptor in zip(message.get("map", []), descriptors, strict=True):
            self._regions.map(region, descriptor)
        if message["ask"] == "forward":
            return self._forward(message)
        return {"status": UNSUPPORTED, "error": f"this worker does not know '{message['ask']}'"}

    def _describe(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("protocol", PROTOCOL) != PROTOCOL:
            sentence = (
                f"the ringproof command speaks protocol {message['protocol']} and the Python "
                f"package {PROTOCOL}; install both from one version"
            )
            return {"refused": "bad_input", "sentence": sentence}
        try:
            if self._callee is None:
                self._callee = self._find()
            description = self._callee.description
            said = description.message(DTYPES[message["dtype"]])
            return {"description": said, "has_backward": False, "notes": list(description.notes)}
        except NotHere as reason:
            return {"refused": "not_run", "sentence": str(reason)}
        except BadInput as reason:
            return _refusal(reason)

    def _forward(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._callee is not None
        tensors, description = message["tensors"], self._callee.description
        problem = problem_of(message["problem"])
        try:
            q, k, v = (
                arrays.handed_over(
                    self._regions.view(tensors[name]), problem.dtype, description.array
                )
                for name in ("q", "k", "v")
            )
            result = self._callee.fn(q, k, v, problem)
            for name in ("q", "k", "v"):
                self._regions.require_unchanged(name, tensors[name])
            writes_lse = "writes_lse" in description.features
            out, lse = _parts(result, writes_lse)
            got = arrays.checked(out, "out", problem.shape_out, problem.dtype_out)
            self._regions.view(tensors["out"])[...] = got
            if writes_lse:
                got = arrays.checked(lse, "lse", problem.shape_lse, problem.dtype_lse)
                if tensors.get("lse") is not None:
                    self._regions.view(tensors["lse"])[...] = got[..., np.newaxis]
        except Unsupported as reason:
            return {"status": UNSUPPORTED, "error": str(reason)}
        except arrays.BadResult as reason:
            return {"status": ERROR, "error": str(reason)}
        except Exception as reason:
            told = _traceback(reason)
            self.traceback = self.traceback or told
            return {"status": ERROR, "error": sentence_of(reason), "traceback": told}
        return {"status": OK}


def _parts(result: Any, writes_lse: bool) -> tuple[Any, Any]:
    if isinstance(result, (tuple, list)):
        if len(result) != 2:
            raise arrays.BadResult(f"{len(result)} values came back; return out, or (out, lse)")
        return result[0], result[1]
    if writes_lse:
        raise arrays.BadResult(
            "out came back alone, though writes_lse is declared; return (out, lse)"
        )
    return result, None


def sentence_of(reason: BaseException) -> str:
    return " ".join(f"{type(reason).__name__}: {reason}".split())


def _is_ours(file: str) -> bool:
    ours = (__file__, str(pathlib.Path(__file__).with_name("worker.py")))
    return file in ours or file.startswith("<frozen importlib") or "/importlib/__init__" in file


def _traceback(reason: BaseException) -> str:
    """The traceback from the callable on, frames of a worker and of Python's import left out."""
    frames = [f for f in traceback.extract_tb(reason.__traceback__) if not _is_ours(f.filename)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    return "".join(lines + traceback.format_exception_only(reason))


def _refusal(reason: BadInput) -> dict[str, Any]:
    answer = {"refused": "bad_input", "sentence": str(reason)}
    if reason.__cause__ is not None:
        answer["traceback"] = _traceback(reason.__cause__)
    return answer
