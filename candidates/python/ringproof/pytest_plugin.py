"""The pytest plug-in: a fixture `ringproof`, whose `check` fails the test unless it accepts.

    def test_attention(ringproof):
        ringproof.check(attention, cases="fast")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from ringproof.check import check
from ringproof.verdict import Verdict


class Checker:
    """What the fixture gives."""

    def check(
        self, fn: Callable[..., Any] | str, cases: str | Iterable[str] = "fast", **options: Any
    ) -> Verdict:
        """As ringproof.check. Fails the test unless accepted; skips it where it cannot run here."""
        __tracebackhide__ = True
        verdict = check(fn, cases, **options)
        if verdict.outcome == "not run":
            pytest.skip(f"{verdict.candidate}: {'; '.join(verdict.reasons)}")
        if not verdict.accepted:
            pytest.fail(_failure(verdict))
        return verdict


@pytest.fixture(name="ringproof")
def _ringproof() -> Checker:
    return Checker()


def _failure(verdict: Verdict) -> str:
    """The report as pytest shows a failed assertion: what was asserted, then why it fails."""
    first, *rest = verdict.report().splitlines()
    return "\n".join([f"assert {verdict.outcome} == accepted", f" where {first}", *rest])
