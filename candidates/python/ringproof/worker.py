"""The process in which a Python callable is judged: `python -m ringproof.worker SPEC`.

The ringproof command starts it with its socket as descriptor 3 (candidates/protocol.md).
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import Any

from ringproof import adapters
from ringproof.description import BadInput, Description
from ringproof.server import Callee, Server, sentence_of


def find(spec: str) -> Callee:
    """The callable that a --candidate names: `python:module:callable`, or an adapter's name.

    Raises BadInput for what is not there and NotHere where an adapter's library is not installed.
    """
    if spec.startswith("python:"):
        return _user_callable(spec)
    return adapters.find(spec)


def _user_callable(spec: str) -> Callee:
    _, _, rest = spec.partition(":")
    module_name, _, name = rest.partition(":")
    if not module_name or not name:
        raise BadInput(f"'{spec}' names no callable; write python:module:callable")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as reason:
        if reason.name is None or not f"{module_name}.".startswith(f"{reason.name}."):
            raise BadInput(f"module '{module_name}' could not be imported: {reason}") from reason
        sentence = (
            f"there is no module '{module_name}' for Python {sys.executable} from {os.getcwd()}"
        )
        raise BadInput(f"{sentence}; run where it lies, or install it") from None
    except (Exception, SystemExit) as reason:
        raise BadInput(
            f"module '{module_name}' could not be imported: {sentence_of(reason)}"
        ) from reason
    target: Any = module
    for part in name.split("."):
        target = getattr(target, part, None)
    if not callable(target):
        has = "is not callable" if target is not None else "does not exist"
        raise BadInput(
            f"'{name}' of module '{module_name}' {has}; name a function fn(q, k, v, problem)"
        )
    description = getattr(target, "ringproof_description", Description())
    return Callee(target, description)


def main() -> int:
    if len(sys.argv) != 2:
        print(
            "usage: python -m ringproof.worker SPEC, started by the ringproof command",
            file=sys.stderr,
        )
        return 2
    try:
        end = socket.socket(fileno=3)
    except OSError:
        print(
            "ringproof.worker: descriptor 3 is no socket; let the ringproof command start it",
            file=sys.stderr,
        )
        return 2
    Server(end, lambda: find(sys.argv[1])).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
