#!/usr/bin/env python3
"""Judges the rings of rings.py on rings.cases, four ranks each, in the schedule that each runs.

Runs in the environment that setup.sh has made and leaves the verdicts, and the Cases that were
not accepted, in reports/records/rings.jsonl. docs/zoo.md explains them by hand.
"""

from __future__ import annotations

import json
import os
import sys

from zoo import ROOT, judge

RECORDS = ROOT / "reports/records/rings.jsonl"
RINGS = {
    "ring_flash_attn": "contiguous4",
    "zigzag_ring_flash_attn": "zigzag4",
    "stripe_flash_attn": "striped4",
    "context_parallel": "contiguous4",
    "context_parallel_balanced": "zigzag4",
    "ring_attention_pytorch": "contiguous4",
    "ringattention": "",
}


def options(topology: str) -> list[str]:
    """Of a ring over processes; ringattention has its ranks in one."""
    shared = ["--cases", "rings.cases", "--time-limit", "180", "--no-shrink"]
    return shared + (["--launcher", "spawn", "--topology", topology] if topology else [])


def main() -> int:
    os.chdir(ROOT / "candidates/zoo")
    with RECORDS.open("w") as records:
        for ring in sys.argv[1:] or RINGS:
            for record in judge(f"python:rings:{ring}", options(RINGS[ring])):
                print(json.dumps(record), file=records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
