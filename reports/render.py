#!/usr/bin/env python3
"""Makes report.html and report.md from the results.jsonl of a run, and from nothing else.

The page is one file: no scripts, no fonts, nothing to fetch. Rejected and inconclusive Cases come
first, each with the line that runs it again.
"""
import argparse
import collections
import datetime
import math
import os
import pathlib
import re
import shlex
import sys

import jinja2
import markupsafe

from figures import RANKS_DRAWN_MAX, make_figures, timeline
from records import OUTCOMES, InputError, bound_used, number, read_run

TEMPLATES = pathlib.Path(__file__).resolve().parent / "templates"
HEADLINES = {
    0: ("accepted", "Accepted"),
    1: ("rejected", "Rejected"),
    2: ("inconclusive", "Bad input"),
    3: ("inconclusive", "Inconclusive"),
    4: ("inconclusive", "Inconclusive: more declared Cases refused than allowed"),
}
COUNTS = ("cases", "accepted", "unsupported", "refused", "inconclusive", "rejected")
SYMBOLS = {"accepted": "✓", "unsupported": "–", "inconclusive": "?", "rejected": "✗"}


def short(value):
    """A number of a record for reading: three digits, non-finite ones named."""
    value = number(value)
    return "∞" if value == math.inf else f"{value:.3g}"


def share(value):
    """A share of a bound: as `short`, but neither 0.9996 nor 1.0004 reads as 1."""
    value = number(value)
    texts = [f"{value:.{digits}g}" for digits in range(3, 7)]
    near = "0.999999" if value < 1 else "1.00001"
    return short(value) if value == 1 or math.isinf(value) else next(
        (text for text in texts if text != "1"), near)


def exact(value):
    """A number of a record in full."""
    return value if isinstance(value, str) else repr(value)


def duration(seconds):
    seconds = number(seconds)
    minutes = int(seconds // 60) if math.isfinite(seconds) else 0
    return f"{minutes} min {seconds - 60 * minutes:.0f} s" if minutes else f"{seconds:.3g} s"


def milliseconds(value):
    value = number(value)
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def gibibytes(value):
    return f"{value / 2**30:.1f} GiB"


def markdown(text):
    """Text that Markdown shows as it stands, also inside a table."""
    text = " ".join(str(text).split())
    for plain, safe in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"),
                        ("*", "\\*"), ("_", "\\_"), ("`", "\\`"), ("[", "\\[")):
        text = text.replace(plain, safe)
    return text


def breakable(line):
    """A Case line that may break between its fields only; copied text stays the same."""
    return markupsafe.escape(line).replace("/", markupsafe.Markup("/<wbr>"))


def noise_text(noise):
    """The noise figure with the rows it stands on."""
    return f"{number(noise['figure']):.3f} ({noise['rows']} rows)" if noise["rows"] else "–"


def bias_text(bias):
    """The bias in per cent with its standard error and the rows it stands on."""
    if not bias["rows"]:
        return "–"
    percent, error = (100 * number(bias[name]) for name in ("beta", "standard_error"))
    return f"{percent:+.2g} % ± {error:.1g} % ({bias['rows']} rows)"


def percent(value):
    return f"{100 * number(value):.2g} %"


def warned(cases):
    """Each warning once, numbers apart, with how many Cases got it and the first of them."""
    found = {}
    for case in cases:
        for warning in case["warnings"]:
            known = found.setdefault((case["candidate"], re.sub(r"\d+", "", warning)),
                                     {"candidate": case["candidate"], "warning": warning,
                                      "count": 0, "case": case["case"]})
            known["count"] += 1
    return list(found.values())


def rerun(case, line):
    """The command that judges `line` again; it is always quoted, it may hold parentheses."""
    line = line.replace("'", "'\\''")
    return f"ringproof gate --candidate {shlex.quote(case['candidate'])} --case '{line}'"


def reading_order(case):
    used = bound_used(case)
    return OUTCOMES.index(case["outcome"]), -(used if used is not None else -1.0)


def worst_tensors(case):
    """The tensors that speak against the candidate; for want of one, the tightest."""
    outside = [tensor for tensor in case["tensors"] if tensor["count_outside"] > 0]
    return outside or sorted(case["tensors"], key=lambda t: -number(t["bound_used"]))[:1]


def trouble(cases):
    """Cases a reader must look at: rejected, inconclusive, and refused though declared."""
    found = [case for case in cases if case["outcome"] in ("rejected", "inconclusive")
             or case["status"] == "refused"]
    return [{**case, "rerun": rerun(case, case["case"]), "worst": worst_tensors(case),
             "smallest": rerun(case, case["smallest_case"]) if case["smallest_case"] else ""}
            for case in sorted(found, key=reading_order)]


def row_of_verdict(verdict):
    counts = {name: verdict[f"count_{name}"] for name in COUNTS}
    return {**verdict, **counts}


def row_of_unfinished(candidate, cases):
    """What can be said of a candidate whose verdict was never written: counts, and no contract."""
    outcomes = [case["outcome"] for case in cases]
    statuses = [case["status"] for case in cases]
    asked = [case for case in cases if case["status"] == "returned"]
    return {"candidate": candidate, "contract": "not decided: the run did not end",
            "outcome": "rejected" if "rejected" in outcomes else "inconclusive",
            "scope": ", ".join(sorted({case["dtype"] for case in asked})) or "nothing judged",
            "cases": len(cases), "unsupported": statuses.count("unsupported"),
            "refused": statuses.count("refused"),
            **{name: outcomes.count(name) for name in ("accepted", "inconclusive", "rejected")},
            "bound_used": max((bound_used(case) or 0 for case in asked), default=0),
            "time_ms": math.fsum(number(case["candidate_ms"]) for case in cases), "facts": [],
            "noise": {"rows": 0}, "bias": {"rows": 0}, "failing_checks": [], "reason": ""}


def candidate_rows(run):
    if run.verdicts:
        return [row_of_verdict(verdict) for verdict in run.verdicts]
    names = dict.fromkeys(case["candidate"] for case in run.cases)
    return [row_of_unfinished(name, [c for c in run.cases if c["candidate"] == name])
            for name in names]


def headline(run):
    """(outcome, words): the run's exit code, or what can be said without one."""
    if run.end and run.end["exit_code"] in HEADLINES:
        outcome, words = HEADLINES[run.end["exit_code"]]
        return outcome, words
    rejected = any(case["outcome"] == "rejected" for case in run.cases)
    return ("rejected", "Rejected") if rejected else ("inconclusive", "Inconclusive")


def notes(run):
    """Sentences about the run itself that a reader must not miss."""
    found = []
    if run.end is None:
        found.append("Interrupted: this run has no end record. The page shows what was finished; "
                     "it is no verdict.")
    elif run.end["interrupted"]:
        found.append("Interrupted: the run was stopped before it had judged every Case. The page "
                     "shows what was finished.")
    if run.last_line_cut:
        found.append("The last line of results.jsonl was cut while it was written and is left out.")
    if not run.cases:
        found.append("No Case was judged.")
    return found


def groups(run):
    """All Cases by candidate, the ones to look at first."""
    found = []
    for name in dict.fromkeys(case["candidate"] for case in run.cases):
        cases = sorted((c for c in run.cases if c["candidate"] == name), key=reading_order)
        counts = {outcome: [case["outcome"] for case in cases].count(outcome)
                  for outcome in OUTCOMES}
        cases = [{**case, **{key: {tensor["name"]: tensor for tensor in case[name]} for key, name in
                             (("tensor_of", "tensors"), ("probabilistic_of", "probabilistic"))}}
                 for case in cases]
        found.append({"name": name, "cases": cases, "counts": counts})
    return found


def outside_declarations(run):
    """Per candidate, why Cases were never asked, and how many."""
    found = []
    for name in dict.fromkeys(case["candidate"] for case in run.cases):
        reasons = collections.Counter(case["reason"] for case in run.cases if
                                      (case["candidate"], case["status"]) == (name, "unsupported"))
        if reasons:
            why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
            found.append({"candidate": name, "count": reasons.total(), "why": why})
    return found


def row_of_power(power):
    """A line of the table of power: floor faults counted, what was not seen named."""
    sights = [fault["sight"] for fault in power["faults"]]
    unseen = [f"{fault['name']} ({fault['why']})" for fault in power["faults"]
              if fault["sight"] == "unseen"]
    return {**power, "faults_seen": sights.count("seen"), "unseen": ", ".join(unseen),
            "faults_applicable": sights.count("seen") + sights.count("unseen"),
            "least": {effect["name"]: effect["least_rejected"] for effect in power["effects"]}}


def tally(value):
    """A count that equals its formula, or both."""
    if value["got"] == value["want"]:
        return f"{value['got']:,} ="
    return f"{value['got']:,} (formula {value['want']:,})"


def spent(rank, part):
    return math.fsum(number(step[part]) for step in rank["steps"])


def row_of_ranks(record):
    """A schedule on so many ranks, its longest Case rank by rank, and its timeline."""
    drawings = {key: markupsafe.Markup(svg) for key, svg in timeline(record).items()}
    ranks = [{**rank, "rank": index, "wait_ms": spent(rank, "wait_ms"),
              "compute_ms": spent(rank, "compute_ms"), "merge_ms": spent(rank, "merge_ms")}
             for index, rank in enumerate(record["ranks"])]
    hidden = max(0, len(ranks) - RANKS_DRAWN_MAX)
    return {**record, "ranks": ranks, "drawings": drawings, "not_drawn": hidden}


def case_count(run):
    """Distinct Case lines, whoever the candidate."""
    return len({case["case"] for case in run.cases})


def context_of(run):
    outcome, words = headline(run)
    started = datetime.datetime.fromisoformat(run.run["started"].replace("Z", "+00:00"))
    figures = make_figures(run.cases)
    for figure in figures:
        figure.update({k: markupsafe.Markup(figure[k]) for k in ("wide", "narrow")})
    rows = candidate_rows(run)
    return {"run": run.run, "end": run.end, "outcome": outcome, "headline": words,
            "notes": notes(run), "rows": rows, "not_run": run.not_run,
            "schedules": [row_of_ranks(record) for record in run.ranks],
            "powers": [row_of_power(power) for power in run.powers],
            "outside": outside_declarations(run),
            "statistics": [row for row in rows if row["noise"]["rows"] + row["bias"]["rows"]],
            "trouble": trouble(run.cases), "warned": warned(run.cases), "groups": groups(run),
            "case_count": case_count(run),
            "judgements": sum(case["status"] == "returned" for case in run.cases),
            "started": started.strftime("%Y-%m-%d %H:%M UTC"), "figures": figures,
            "command_line": shlex.join(["ringproof", *run.run["arguments"]]), "symbols": SYMBOLS}


def render(template_name, context):
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True,
                                     autoescape=template_name.endswith(".html.j2"),
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(short=short, tally=tally, share=share, exact=exact, noise=noise_text,
                               bias=bias_text, percent=percent, duration=duration,
                               gibibytes=gibibytes, milliseconds=milliseconds,
                               markdown=markdown, breakable=breakable)
    return environment.get_template(template_name).render(context)


def write_whole(path, text):
    """Writes a file whole or not at all. Raises InputError."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror})") from None


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="render.py", description=__doc__.split("\n\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  ringproof gate --tier fast --out report\n"
               "  python reports/render.py report\n\nexit codes: 0 written, 2 bad input")
    parser.add_argument("folder", metavar="OUTDIR", type=pathlib.Path,
                        help="folder with results.jsonl; report.html and report.md go beside it")
    folder = parser.parse_args(arguments).folder
    try:
        context = context_of(read_run(folder))
        texts = {name: render(f"{name}.j2", context) for name in ("report.html", "report.md")}
        for name, text in texts.items():
            write_whole(folder / name, text)
    except InputError as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 2
    print(f"report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
