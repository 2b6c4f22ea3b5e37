"""Where the ringproof command lies that this package drives."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys


class NoBinary(RuntimeError):
    """There is no ringproof command; the sentence says where it was looked for."""


def binary() -> str:
    """$RINGPROOF_BINARY, else the one installed beside this Python, else the one on the path."""
    named = os.environ.get("RINGPROOF_BINARY")
    if named:
        if not os.access(named, os.X_OK):
            raise NoBinary(
                f"RINGPROOF_BINARY is '{named}', which is no program; name the ringproof command"
            )
        return named
    beside = pathlib.Path(sys.executable).parent / "ringproof"
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which("ringproof")
    if found is None:
        raise NoBinary(
            f"there is no ringproof command beside {sys.executable} nor on the path; pip install "
            "ringproof here, or set RINGPROOF_BINARY to the one you built"
        )
    return found
