#!/usr/bin/env python3
"""Judges the attention of libraries that nobody here wrote, and leaves what was said of them.

Runs the gate on each adapter, in the environment that setup.sh has made, and writes the records of
the runs (their verdicts, and the Cases that were not accepted) to reports/records/zoo.jsonl and the
table of docs/zoo.md. What the table shows is explained there by hand. Labelled full tier:

    candidates/zoo/setup.sh && candidates/zoo/zoo.py
    candidates/zoo/zoo.py --check       writes nothing; ends with 1 where an outcome is another one
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDS = ROOT / "reports/records/zoo.jsonl"
PAGE = ROOT / "docs/zoo.md"
BEGIN, END = "<!-- written by candidates/zoo/zoo.py -->", "<!-- end -->"
CANDIDATES = (
    "torch:sdpa",
    "torch:sdpa_math",
    "jax:dot_product_attention",
    "onnxruntime:attention",
    "onnxruntime:multi_head_attention",
    "mlx:sdpa",
    "flash_attn:flash_attn_func",
)
# What every adapter declares; the page says so once.
COMMON = ("NaN in unseen slots may leak", "NaN in hidden slots may leak", "no lse")
Record = dict[str, Any]


def judge(candidate: str, options: list[str]) -> list[Record]:
    """What one run of the gate records about a candidate, and the last line that it prints."""
    binary = os.environ.get("RINGPROOF_BIN", ROOT / "build/bin")
    environment = os.environ | {
        "RINGPROOF_PYTHON": str(ROOT / "build/zoo/bin/python"),
        "PYTHONPATH": str(ROOT / "candidates/python"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        out = f"{scratch}/{candidate.replace(':', '_')}"
        command = [f"{binary}/ringproof", "gate", "--candidate", candidate, *options, "--out", out]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        lines = pathlib.Path(out, "results.jsonl").read_text().replace(out, pathlib.Path(out).name)
    records = [json.loads(line) for line in lines.splitlines()]
    last = run.stdout.strip().splitlines()[-1].partition(";")[0]
    print(f"{candidate}: {last}", flush=True)
    return [r for r in records if is_kept(r) and r.get("candidate", candidate) == candidate]


def is_kept(record: Record) -> bool:
    kind = record["record"]
    if kind == "case":
        return record["outcome"] not in ("accepted", "unsupported")
    return kind in ("run", "end", "verdict", "not_run")


def version(library: str) -> str:
    """Of an installed library; nothing where there is none."""
    script = f"from importlib.metadata import version; print(version('{library}'))"
    run = subprocess.run(
        [ROOT / "build/zoo/bin/python", "-c", script], capture_output=True, text=True
    )
    return run.stdout.strip()


def row(record: Record, shown: str) -> str:
    """A verdict's line in the table."""
    dtype = record["scope"].split()[0]
    asked = record["count_cases"] - record["count_unsupported"]
    declared = record["contract"].removeprefix("as declared: ").split(", ")
    contract = ", ".join(phrase for phrase in declared if phrase not in COMMON)
    verdict = f"{record['outcome']} as declared: {contract or 'default arithmetic'}"
    noise = record["noise"]
    if noise["rows"] >= 200 and isinstance(noise["figure"], float) and dtype in ("fp16", "bf16"):
        verdict += f"; noise figure {noise['figure']:.3f} over {noise['rows']:,} rows"
    used = f"{record['bound_used']:.3f}"
    return f"| {shown} | {dtype} | {record['count_accepted']} of {asked} | {used} | {verdict} |"


def table(records: list[Record]) -> list[str]:
    lines = [
        "| candidate | dtype | accepted of asked | bound used | verdict |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    last = ""
    for record in records:
        if record["record"] not in ("verdict", "not_run"):
            continue
        candidate = record["candidate"]
        shown = "" if candidate == last else f"`{candidate}` {version(candidate.partition(':')[0])}"
        last = candidate
        if record["record"] == "verdict":
            lines.append(row(record, shown.strip()))
        else:
            lines.append(f"| {shown.strip()} | | | | not run: {record['why']} |")
    return lines


def write_page(lines: list[str]) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n".join([before + BEGIN, *lines, END + after]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("candidates", nargs="*", help="adapters to judge (default: all)")
    parser.add_argument("--tier", default="fast", help="of Cases")
    parser.add_argument("--check", action="store_true", help="compare with the records")
    asked = parser.parse_args()
    if not (ROOT / "build/zoo/bin/python").exists():
        print("zoo: build/zoo is not there; run candidates/zoo/setup.sh", file=sys.stderr)
        return 2
    known = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    runs = {name: of_candidate(known, name) for name in CANDIDATES}
    differ = []
    for candidate in asked.candidates or CANDIDATES:
        judged = judge(candidate, ["--tier", asked.tier])
        if asked.check:
            differ += [candidate] if outcomes(judged) != outcomes(runs[candidate]) else []
            continue
        runs[candidate] = judged
        records = [record for run in runs.values() for record in run]
        RECORDS.write_text("".join(json.dumps(record) + "\n" for record in records))
        write_page(table(records))
    for candidate in differ:
        print(f"zoo: {candidate} has other outcomes than {RECORDS.name} records", file=sys.stderr)
    return 1 if differ else 0


def outcomes(records: list[Record]) -> dict[str, str]:
    """By dtype."""
    verdicts = [r for r in records if r["record"] == "verdict"]
    return {r["scope"].split()[0]: r["outcome"] for r in verdicts}


def of_candidate(records: list[Record], candidate: str) -> list[Record]:
    """The records of its last run: those from its `run` to its `end`."""
    kept: list[Record] = []
    is_its = False
    for record in records:
        if record["record"] == "run":
            is_its = candidate in record["arguments"]
            kept = [] if is_its else kept
        if is_its:
            kept.append(record)
    return [r for r in kept if r.get("candidate", candidate) == candidate]


if __name__ == "__main__":
    sys.exit(main())
