#!/usr/bin/env python3
"""Judges the rings of rings.py on rings.cases, four ranks each, in the schedule that each runs.

Runs in the environment that setup.sh has made and leaves the verdicts, and the Cases that were
not accepted, in reports/records/rings.jsonl. docs/zoo.md explains them by hand. Full tier:

    candidates/zoo/judge_rings.py
    candidates/zoo/judge_rings.py --check   writes nothing; ends with 1 where an outcome is another
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from zoo import ROOT, Record, judge, outcomes

RECORDS = ROOT / "reports/records/rings.jsonl"
# Launcher and topology; ringattention has its ranks in one process.
RUNS = {
    "ring_flash_attn": ("spawn", "contiguous4"),
    "ring_flash_attn torchrun": ("torchrun", "contiguous4"),
    "zigzag_ring_flash_attn": ("spawn", "zigzag4"),
    "stripe_flash_attn": ("spawn", "striped4"),
    "context_parallel": ("spawn", "contiguous4"),
    "context_parallel_balanced": ("spawn", "zigzag4"),
    "ring_attention_pytorch": ("spawn", "contiguous4"),
    "ring_attention_pytorch_reordered": ("spawn", "contiguous4"),
    "ringattention": (),
}


def options(run: str) -> list[str]:
    shared = ["--cases", "rings.cases", "--time-limit", "180", "--no-shrink"]
    return shared + [word for pair in zip(("--launcher", "--topology"), RUNS[run]) for word in pair]


def of_run(records: list[Record], run: str) -> list[Record]:
    """Those from its `run` to its `end`."""
    candidate, kept, is_its = f"python:rings:{run.partition(' ')[0]}", [], False
    for record in records:
        if record["record"] == "run":
            given = record["arguments"]
            is_its = candidate in given and all(word in given for word in RUNS[run])
        if is_its:
            kept.append(record)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(RUNS)} (default: all)")
    parser.add_argument("--check", action="store_true", help="compare with the records")
    asked = parser.parse_args()
    os.chdir(ROOT / "candidates/zoo")
    os.environ["PATH"] = f"{ROOT}/build/zoo/bin:{os.environ['PATH']}"  # torchrun
    known = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    runs = {run: of_run(known, run) for run in RUNS}
    differ = []
    for run in asked.runs or RUNS:
        judged = judge(f"python:rings:{run.partition(' ')[0]}", options(run))
        if asked.check:
            differ += [run] if outcomes(judged) != outcomes(runs[run]) else []
            continue
        runs[run] = judged
        lines = [json.dumps(record) + "\n" for records in runs.values() for record in records]
        RECORDS.write_text("".join(lines))
    for run in differ:
        print(f"rings: {run} has other outcomes than {RECORDS.name} records", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
