#!/usr/bin/env python3
"""Makes the mutants: copies of this tree's sources with one edit each, in namespaces of their own.

A mutant is a file NAME.mutant and a line NAME in list.txt. The file opens with `key: value` lines
(source, specimen, imitates, and `ends: error` for one that is detected as a failed call), then the
text to find after a line `find:` and what stands there instead after a line `replace:`, both
without the last line break, so that a find may be part of a line.

Method: all mutants of one source go into one file, each copy inside namespace mutant_NAME, so that
headers are read once and all copies link beside the original. A kernel is copied together with the
headers of HEADERS, which belong to its namespace; a mutant that edits such a header says by its
specimen which kernel it goes into. registry.cpp names every edited
function. The edit is textual and must be possible in exactly one place: a mutant whose source has
moved on fails the build instead of becoming a correct kernel.
Needs Python 3.10 and nothing else.
"""
import argparse
import pathlib
import re
import sys
from typing import NamedTuple


class Kind(NamedTuple):
    """How copies of one source are told apart, and how a mutant is made of one."""

    function: str  # the edited function, found in the mutant's namespace
    function_type: str
    compose: str  # the function of compose.h


# A copy of a kernel takes these along, each where it is included; a mutant may edit them too.
HEADERS = ("gpu/kernel_mask.cuh", "gpu/kernel_numbers.cuh")
KERNEL_ENTRY = """namespace ringproof::{space} {{
void {function}(const FlashParams& params, void* stream) {{ {launch}(params, stream); }}
}}  // namespace ringproof::{space}
"""
# By specimen, its source and its function, which starts launch_<function> there.
KERNELS = {
    "attention_fp64": ("gpu/attention_fp64.cuh", "attention_fp64"),
    "flash_forward_fp32": ("gpu/flash_forward_fp32.cuh", "flash_forward_fp32"),
    "flash_forward_mma_bf16": ("gpu/flash_forward_mma.cuh", "flash_forward_mma"),
    "flash_forward_mma_fp16": ("gpu/flash_forward_mma.cuh", "flash_forward_mma"),
    "flash_split_kv_bf16": ("gpu/flash_split_kv.cuh", "flash_split_kv_bf16"),
    "flash_split_kv_fp32": ("gpu/flash_split_kv.cuh", "flash_split_kv_fp32"),
}
# By specimen, what a copy starts instead: one cut of a kernel that has many, which would take long
# to compile; and the largest head dim of that cut, beyond which the copy is not asked.
LAUNCHES = {
    "flash_forward_mma_bf16": ("launch_flash_forward_mma_as<MmaShape<bf16, 96, 96>>", 96),
    "flash_forward_mma_fp16": ("launch_flash_forward_mma_as<MmaShape<fp16, 96, 96>>", 96),
}
KERNEL_SOURCES = sorted({source for source, _ in KERNELS.values()})
# By source, what else is edited.
KINDS = {
    "property_tests/mutants/specimen_flash.cpp": Kind(
        "specimen_flash_forward", "decltype(specimen_flash_forward)", "flash_mutant"
    ),
    "distributed/ring.cpp": Kind("ring_forward", "decltype(ring_forward)", "ring_mutant"),
    "distributed/ring_plan.cpp": Kind("ring_step", "decltype(ring_step)", "plan_mutant"),
    "distributed/head_split.cpp": Kind(
        "head_split_forward", "decltype(head_split_forward)", "head_split_mutant"
    ),
    "distributed/head_split_plan.cpp": Kind(
        "head_split_plan", "decltype(head_split_plan)", "head_split_plan_mutant"
    ),
    "distributed/all_gather.cpp": Kind(
        "all_gather_forward", "decltype(all_gather_forward)", "all_gather_mutant"
    ),
    "distributed/merge.cpp": Kind("merge_partial", "decltype(merge_partial)", "merge_mutant"),
}
NAMESPACE = "namespace ringproof {"
REGISTRY = "registry.cpp"


class Mutant(NamedTuple):
    name: str
    source: str
    specimen: str
    imitates: str
    ends_in_error: bool
    find: str
    replace: str

    @property
    def space(self):
        return "mutant_" + self.name

    @property
    def copied(self):
        """The file a copy is made of: the edited one, or the kernel whose header is edited."""
        return KERNELS.get(self.specimen, (self.source,))[0]

    @property
    def kind(self):
        if self.copied in KINDS:
            return KINDS[self.copied]
        return Kind(KERNELS[self.specimen][1], "FlashLaunch", "kernel_mutant")


def unit_name(source):
    return f"mutants_of_{pathlib.PurePath(source).stem}.cpp"


def parse(name, text):
    """The mutant of a .mutant file's text. Raises ValueError saying what is wrong with it."""
    match = re.fullmatch(r"(.*?\n)find:\n(.*?)\nreplace:\n(.*?)\n?", text, re.S)
    if match is None:
        raise ValueError(f"{name}.mutant: want header lines, 'find:', text, 'replace:', text")
    head = dict(re.findall(r"^(\w+): (.+)$", match[1], re.M))
    for key in ("source", "specimen", "imitates"):
        if key not in head:
            raise ValueError(f"{name}.mutant: the header line '{key}:' is missing")
    unknown = sorted(head.keys() - {"source", "specimen", "imitates", "ends"})
    if unknown or head.get("ends", "error") != "error":
        raise ValueError(f"{name}.mutant: unknown header line {unknown or 'ends'}")
    source, specimen = head["source"], head["specimen"]
    if specimen in KERNELS:
        sources = (KERNELS[specimen][0], *HEADERS)
    else:
        sources = KINDS
    if source not in sources:
        raise ValueError(f"{name}.mutant: no mutants of {specimen} are made of {source}")
    return Mutant(
        name, head["source"], head["specimen"], head["imitates"], "ends" in head, match[2], match[3]
    )


def apply(mutant, original):
    """The source with the one edit. Raises ValueError unless it fits in exactly one place."""
    count = original.count(mutant.find)
    if count != 1:
        raise ValueError(
            f"{mutant.name}.mutant: its text occurs {count} times in {mutant.source}, "
            "want 1; write the edit anew for what the source has become"
        )
    if mutant.find == mutant.replace:
        raise ValueError(f"{mutant.name}.mutant: the edit changes nothing")
    return original.replace(mutant.find, mutant.replace)


def moved(mutant, edited):
    """The edited copy inside the mutant's namespace, without the guard of a header."""
    edited = edited.replace("#pragma once\n", "")
    if "SIMT_BACKEND" not in edited:
        if edited.count(NAMESPACE) != 1:
            raise ValueError(f"{mutant.source}: want '{NAMESPACE}' exactly once")
        return edited.replace(NAMESPACE, f"namespace ringproof::{mutant.space} {{")
    function = mutant.kind.function
    launch, _ = LAUNCHES.get(mutant.specimen, ("launch_" + function, 0))
    entry = KERNEL_ENTRY.format(space=mutant.space, function=function, launch=launch)
    return f"#undef SIMT_BACKEND\n#define SIMT_BACKEND {mutant.space}\n{edited}{entry}"


def assembled(mutant, read):
    """The copy's text with its one edit, headers that belong to it put where they are included."""
    texts = {name: read(name) for name in {mutant.copied, mutant.source}}
    texts[mutant.source] = apply(mutant, texts[mutant.source])
    text = texts[mutant.copied]
    for header in HEADERS:
        include = f'#include "{header}"\n'
        if include in text:
            text = text.replace(include, texts[header] if header in texts else read(header))
    return text


def unit_of(mutants, read):
    copies = [moved(mutant, assembled(mutant, read)) for mutant in mutants]
    return "\n".join(["// Written by mutate.py.\n", *copies])


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_unseen(text):
    """Lines of unseen.txt as (fault, reason, floor). Raises ValueError for any other line."""
    rows = [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]
    for row in rows:
        if len(row) != 3 or not all(part.strip() for part in row):
            raise ValueError(f"unseen.txt: want 'fault | reason | floor', not {row}")
    return rows


def registry_of(mutants, unseen):
    lines = [
        "// Written by mutate.py.\n",
        '#include "property_tests/mutants/compose.h"\n',
        "namespace ringproof {",
    ]
    for mutant in mutants:
        kind = mutant.kind
        lines.append(f"namespace {mutant.space} {{ extern {kind.function_type} {kind.function}; }}")
    lines.append("\nstd::vector<Mutant> mutants() {\n  return {")
    for mutant in mutants:
        kind = mutant.kind
        facts = ", ".join(
            [
                quoted(mutant.name),
                quoted(mutant.imitates),
                quoted(mutant.source),
                quoted(mutant.specimen),
                str(mutant.ends_in_error).lower(),
                str(LAUNCHES.get(mutant.specimen, ("", 0))[1]),
            ]
        )
        lines.append(f"      {kind.compose}({{{facts}}}, {mutant.space}::{kind.function}),")
    lines.append("  };\n}\n\nstd::vector<UnseenFault> unseen_faults() {\n  return {")
    for row in unseen:
        lines.append(f"      {{{', '.join(quoted(part) for part in row)}}},")
    lines.append("  };\n}\n\n}  // namespace ringproof\n")
    return "\n".join(lines)


def read_mutants(folder):
    """The mutants of list.txt. Raises ValueError when list and folder do not agree."""
    lines = (folder / "list.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    files = {path.stem for path in folder.glob("*.mutant")}
    if set(names) != files or len(names) != len(files):
        odd = sorted(set(names) ^ files) or "a name that stands twice"
        raise ValueError(f"list.txt and the .mutant files do not agree: {odd}")
    return [parse(name, (folder / f"{name}.mutant").read_text()) for name in names]


def write_if_new(path, text):
    """Leaves an unchanged file alone, so that nothing is compiled again for it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the source tree")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where the copies go")
    arguments = parser.parse_args()
    try:
        folder = arguments.root / "property_tests/mutants"
        mutants = read_mutants(folder)
        unseen = read_unseen((folder / "unseen.txt").read_text())
        arguments.out.mkdir(parents=True, exist_ok=True)
        for source in [*KERNEL_SOURCES, *KINDS]:
            copies = [mutant for mutant in mutants if mutant.copied == source]
            unit = unit_of(copies, lambda name: (arguments.root / name).read_text())
            write_if_new(arguments.out / unit_name(source), unit)
        write_if_new(arguments.out / REGISTRY, registry_of(mutants, unseen))
    except ValueError as error:
        sys.exit(f"mutate.py: {error}")


if __name__ == "__main__":
    main()
