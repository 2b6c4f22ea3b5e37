"""Prints what did not run and why, then the closing line: 'N passed, N failed, N skipped'.

The end of ci/test.sh. Reads CTest's JUnit file. Exit code 1 when a test failed or none passed.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case: ElementTree.Element) -> str:
    if case.get("status") == "run" and case.find("failure") is None:
        return "passed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "failed"


def reason(case: ElementTree.Element) -> str:
    """What the test itself said: 'not run: no CUDA device ...'."""
    said = re.search(r"not run: .*", case.findtext("system-out") or "")
    return said.group() if said else "not run: it gave no reason"


def main() -> int:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
        counts[outcome(case)] += 1
        if outcome(case) == "skipped":
            print(f"{case.get('name')}: {reason(case)}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
