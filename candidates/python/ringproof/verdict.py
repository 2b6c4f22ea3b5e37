"""A verdict, as read from results.jsonl: what was decided, on what, and what spoke against it."""

from __future__ import annotations

import html
import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN_MAX = 5  # rejected Cases in a text
_ORDER = ("accepted", "unsupported", "not run", "inconclusive", "rejected")


@dataclass(frozen=True)
class Element:
    """One element of a tensor against its bound, in the unit of the tensor."""

    tensor: str  #: "out" or "lse"
    index: tuple[int, ...]  #: batch, head, row, column
    want: float
    got: float
    error: float
    bound: float
    bound_used: float  #: error / bound; at most 1 is inside

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return (
            f"{self.tensor}[{place}]: want {self.want:.9g}, got {self.got:.9g}, "
            f"error {self.error:.3g}, bound {self.bound:.3g} ({self.bound_used:.3g} bounds)"
        )


@dataclass(frozen=True)
class CaseTrouble:
    """A Case that was rejected, or could not be decided."""

    case: str
    outcome: str  #: "rejected" or "inconclusive"
    reason: str
    checks: tuple[str, ...]  #: that reject
    worst: Element | None
    cause: str  #: where the residual lies and what that looks like; "" where nothing stands out
    smallest_case: str  #: the smallest found on which the same check fails; "" where none
    warnings: tuple[str, ...]
    rerun: str  #: the line of Python that runs the smallest Case again

    def __str__(self) -> str:
        lines = [f"{self.outcome}: {self.case}", f"  {self.reason}"]
        if self.worst is not None:
            lines.append(f"  worst element: {self.worst}")
        if self.cause:
            lines.append(f"  likely cause: {self.cause}")
        lines += [f"  {warning}" for warning in self.warnings]
        if self.smallest_case and self.smallest_case != self.case:
            lines.append(f"  smallest Case that still fails: {self.smallest_case}")
        return "\n".join([*lines, f"  rerun: {self.rerun}"])


@dataclass(frozen=True)
class Verdict:
    """The decision about one candidate over all Cases of a run; true where it is *accepted*."""

    candidate: str
    outcome: str  #: "accepted", "rejected", "inconclusive" or "not run"
    exit_code: int  #: of the command: 0 accepted, 1 rejected, 3 inconclusive, 4 too many refused
    scopes: tuple[str, ...]  #: what it speaks of, one per storage dtype
    contracts: tuple[str, ...]  #: what it was held to, one per scope
    count_cases: int
    count_accepted: int
    count_unsupported: int  #: outside what the callable declares: never asked
    count_refused: int  #: declared, and refused all the same
    count_inconclusive: int
    count_rejected: int
    bound_used: float  #: largest error / bound over all Cases
    seconds: float  #: in the callable itself
    reasons: tuple[str, ...]  #: why checks over all Cases reject, or why nothing was decided
    rejected: tuple[CaseTrouble, ...]
    inconclusive: tuple[CaseTrouble, ...]
    isolation: str  #: where the callable ran
    notes: tuple[str, ...] = ()
    traceback: str = ""  #: the first one of an exception in the callable

    @property
    def accepted(self) -> bool:
        return self.outcome == "accepted" and self.exit_code == 0

    def __bool__(self) -> bool:
        return self.accepted

    def __repr__(self) -> str:
        return self.report()

    def report(self) -> str:
        """The verdict in lines of text, the worst first."""
        judged = self.count_cases - self.count_unsupported
        lines = [
            f"{self.candidate}: {self.outcome}, {self.count_accepted} of {judged} Cases accepted"
        ]
        for scope, contract in zip(self.scopes, self.contracts, strict=True):
            lines.append(f"  {scope} ({contract})")
        counts = [
            (self.count_rejected, "rejected"),
            (self.count_inconclusive, "inconclusive"),
            (self.count_refused, "refused though declared"),
            (self.count_unsupported, "not asked: outside the description"),
        ]
        told = ", ".join(f"{count} {what}" for count, what in counts if count)
        if told:
            lines.append(f"  {told}")
        if judged:
            lines.append(
                f"  bound used {self.bound_used:.3g}, {self.seconds:.2f} s in the callable"
            )
        lines.append(f"  {self.isolation}")
        lines += [f"  {text}" for text in (*self.reasons, *self.notes)]
        shown = [*self.rejected, *self.inconclusive]
        lines += [str(trouble) for trouble in shown[:_SHOWN_MAX]]
        if len(shown) > _SHOWN_MAX:
            lines.append(
                f"and {len(shown) - _SHOWN_MAX} more; .rejected and .inconclusive hold them all"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour = {"accepted": "#1a7f37", "rejected": "#cf222e"}.get(self.outcome, "#9a6700")
        rows = [
            ("scope", "; ".join(self.scopes)),
            ("contract", "; ".join(dict.fromkeys(self.contracts))),
            ("Cases", f"{self.count_cases}: {self._counts()}"),
            ("bound used", f"{self.bound_used:.3g}"),
            ("where", self.isolation),
            *(("why", reason) for reason in self.reasons),
        ]
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in rows
        )
        shown = [*self.rejected, *self.inconclusive][:_SHOWN_MAX]
        troubles = "".join(f"<pre>{html.escape(str(trouble))}</pre>" for trouble in shown)
        title = f"{html.escape(self.candidate)}: <b style='color:{colour}'>{self.outcome}</b>"
        return f"<div><p>{title}</p><table>{body}</table>{troubles}</div>"

    def _counts(self) -> str:
        return (
            f"{self.count_accepted} accepted, {self.count_unsupported} unsupported, "
            f"{self.count_inconclusive} inconclusive, {self.count_rejected} rejected"
        )


def read_verdict(
    results: pathlib.Path,
    *,
    candidate: str,
    exit_code: int,
    isolation: str,
    rerun: str,
    notes: Sequence[str] = (),
    reasons: Sequence[str] = (),
    traceback: str = "",
) -> Verdict:
    """The verdict in a results.jsonl of one candidate; `rerun` holds {case} where the line goes.

    A run without a verdict record, or whose file is cut off, is inconclusive.
    """
    records = list(_records(results))
    verdicts = [record for record in records if record["record"] == "verdict"]
    not_run = [
        r["why"] for r in records if r["record"] == "not_run" and r["candidate"] == candidate
    ]
    cases = [record for record in records if record["record"] == "case"]
    counted: Counter[str] = Counter()
    for record in verdicts:
        counted.update({k: v for k, v in record.items() if k.startswith("count_")})
    outcome = max(
        (record["outcome"] for record in verdicts), key=_ORDER.index, default="inconclusive"
    )
    outcome = {0: outcome, 1: "rejected"}.get(exit_code, "inconclusive")
    why = [*reasons, *(record["reason"] for record in verdicts if record["reason"])]
    if exit_code == 4:
        why.append(
            f"{counted['count_refused']} Cases were refused though the description covers them"
        )
    if not verdicts:
        outcome = "not run" if not_run else "inconclusive"
        why += not_run or ["nothing was judged"]
    troubles = [_trouble(r, rerun) for r in cases if r["outcome"] in ("rejected", "inconclusive")]
    return Verdict(
        candidate=candidate,
        outcome=outcome,
        exit_code=exit_code,
        scopes=tuple(record["scope"] for record in verdicts),
        contracts=tuple(record["contract"] for record in verdicts),
        count_cases=counted["count_cases"],
        count_accepted=counted["count_accepted"],
        count_unsupported=counted["count_unsupported"],
        count_refused=counted["count_refused"],
        count_inconclusive=counted["count_inconclusive"],
        count_rejected=counted["count_rejected"],
        bound_used=max((float(record["bound_used"]) for record in verdicts), default=0.0),
        seconds=sum(float(record["time_ms"]) for record in verdicts) / 1000,
        reasons=tuple(why),
        rejected=tuple(t for t in troubles if t.outcome == "rejected"),
        inconclusive=tuple(t for t in troubles if t.outcome == "inconclusive"),
        isolation=isolation,
        notes=tuple(notes),
        traceback=traceback,
    )


def _records(results: pathlib.Path) -> Iterable[dict[str, Any]]:
    if not results.exists():
        return
    for line in results.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # cut off while it was written


def _trouble(record: dict[str, Any], rerun: str) -> CaseTrouble:
    smallest = record["smallest_case"]
    return CaseTrouble(
        case=record["case"],
        outcome=record["outcome"],
        reason=record["reason"],
        checks=tuple(record["failing_checks"]),
        worst=_worst(record["tensors"]),
        cause=record["attribution"],
        smallest_case=smallest,
        warnings=tuple(record["warnings"]),
        rerun=rerun.replace("{case}", smallest or record["case"]),
    )


def _worst(tensors: list[dict[str, Any]]) -> Element | None:
    elements = [
        Element(
            tensor=tensor["name"],
            index=tuple(tensor["worst_index"]),
            want=float(tensor["want"]),
            got=float(tensor["got"]),
            error=float(tensor["error"]),
            bound=float(tensor["bound"]),
            bound_used=float(tensor["bound_used"]),
        )
        for tensor in tensors
        if tensor["count"]
    ]
    return max(elements, key=lambda e: (e.bound_used != e.bound_used, e.bound_used), default=None)
