#!/usr/bin/env python3
"""Copies of the forward bound with one term deleted each, for the test that every term is needed.

terms.txt holds blocks of three or four lines: `name: what the term counts`, the text to find in
bound_forward.cpp, what stands there instead, and, for a term that no simulated kernel was seen to
need, a line `unreached: how near kernels come, a number`. Every find must fit in exactly one place:
a term whose source has moved on fails the build instead of deleting nothing.

Method: all copies go into one file, each in a namespace of its own. The functions that the header
declares are renamed by macros, or argument-dependent lookup would find the originals too.
Needs Python 3.10 and nothing else.
"""
import argparse
import pathlib
import re
import sys
from typing import NamedTuple

SOURCE = "reference/judge/bound_forward.cpp"
HEADER = "reference/judge/bound_forward.h"
NAMESPACE = "namespace ringproof {"


class Term(NamedTuple):
    name: str
    counts: str
    find: str
    replace: str
    unreached: str


def parse(text):
    """The terms of terms.txt. Raises ValueError naming a block that is not one."""
    terms = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        head = re.fullmatch(r"(\w+): (.+)", lines[0])
        last = re.fullmatch(r"unreached: (.+)", lines[-1])
        if head is None or len(lines) != (4 if last else 3):
            raise ValueError(f"terms.txt: want name, find, replace (and unreached): {lines[0]}")
        terms.append(Term(head[1], head[2], lines[1], lines[2], last[1] if last else ""))
    return terms


def without(term, original):
    """The source without the term. Raises ValueError unless it fits in exactly one place."""
    count = original.count(term.find)
    if count != 1:
        raise ValueError(
            f"terms.txt: the text of {term.name} occurs {count} times in {SOURCE}, want 1"
        )
    if original.count(NAMESPACE) != 1:
        raise ValueError(f"{SOURCE}: want '{NAMESPACE}' exactly once")
    return original.replace(term.find, term.replace)


def declarations(header):
    """The functions that the header declares: (name, text)."""
    found = re.findall(
        r"^(?!struct|namespace|inline|constexpr)(\w[\w:<> ]* (\w+)\([^;{]*\);)", header, re.M | re.S
    )
    return [(name, text) for text, name in found]


def unit_of(terms, original, header):
    names = [name for name, _ in declarations(header)]
    parts = [
        "// Written by delete_terms.py.\n",
        '#include "property_tests/bounds/deleted_terms.h"\n',
        f'#include "{HEADER}"\n',
    ]
    for term in terms:
        parts += [f"#define {name} {name}_without_{term.name}" for name in names]
        parts.append(f"namespace ringproof::{term.name} {{")
        parts += [text for _, text in declarations(header)]
        parts.append("}")
        parts.append(
            without(term, original).replace(NAMESPACE, f"namespace ringproof::{term.name} {{")
        )
        parts += [f"#undef {name}" for name in names]
    parts.append(
        "\nnamespace ringproof {\n\nstd::vector<DeletedTerm> deleted_terms() {\n  return {"
    )
    for term in terms:
        facts = ", ".join(quoted(text) for text in (term.name, term.counts, term.unreached))
        parts.append(f"      {{{facts}, {term.name}::bound_forward_without_{term.name}}},")
    parts.append("  };\n}\n\n}  // namespace ringproof\n")
    return "\n".join(parts)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the source tree")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    try:
        terms = parse((arguments.root / "property_tests/bounds/terms.txt").read_text())
        unit = unit_of(
            terms, (arguments.root / SOURCE).read_text(), (arguments.root / HEADER).read_text()
        )
    except ValueError as error:
        sys.exit(f"delete_terms.py: {error}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(unit)


if __name__ == "__main__":
    main()
