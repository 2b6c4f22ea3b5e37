#!/usr/bin/env python3
"""Stands in for CUDA libraries, so that a PyTorch built for CUDA imports on a CPU.

An ELF library names the libraries that it needs, and for each of its undefined symbols the version
that it wants, which says whose symbol it is. For every needed library of CUDA's (an older one that
may lie on this machine lacks symbols) and every other that the loader does not find, a shared
object of its name is compiled, which exports those symbols under those versions; each of them is
one function that returns 100, cudaErrorNoDevice. Undefined symbols without a version that nobody
defines go into all of them. Needs binutils and a C compiler.

    stub_libraries.py FOLDER     the lib folder of an installed torch; the stubs are left in it
"""

from __future__ import annotations

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

NO_DEVICE = 100  # cudaErrorNoDevice and CUDA_ERROR_NO_DEVICE

Wanted = dict[str, set[tuple[str, str]]]  # library -> symbols (name, version or "")


def said_by(*command: str | pathlib.Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def to_stand_in_for(library: pathlib.Path) -> set[str]:
    """Names of libraries that `library` needs, CUDA's and those that the loader does not find."""
    not_found = re.findall(r"^\s*(\S+) => not found", said_by("ldd", library), re.MULTILINE)
    needed = re.findall(r"^\s*NEEDED\s+(\S+)", said_by("objdump", "-p", library), re.MULTILINE)
    return {*not_found, *filter(re.compile("lib(cu|nv|nccl)").match, needed)}


def owners(library: pathlib.Path) -> dict[str, str]:
    """Which needed library gives a version."""
    owner_of, owner = {}, ""
    for line in said_by("objdump", "-p", library).splitlines():
        if named := re.match(r"\s*required from (\S+):", line):
            owner = named[1]
        elif version := re.match(r"\s*0x[0-9a-f]+ 0x[0-9a-f]+ \d+ (\S+)", line):
            owner_of[version[1]] = owner
    return owner_of


def symbols(library: pathlib.Path, which: str) -> set[tuple[str, str]]:
    """(name, version or "") of those `which`: undefined (weak ones left out) or defined."""
    found = set()
    for line in said_by(
        "nm", "-D", "--with-symbol-versions", f"--{which}-only", library
    ).splitlines():
        kind, name = line.split()[-2:]
        if which == "undefined" and kind != "U":
            continue
        name, _, version = name.replace("@@", "@").partition("@")
        found.add((name, version))
    return found


def wanted_of(libraries: list[pathlib.Path], missing: set[str]) -> Wanted:
    lines = [line for library in libraries for line in said_by("ldd", library).splitlines()]
    found = [re.match(r"\s*(\S+) => (/\S+)", line) for line in lines]
    present = {one[2] for one in found if one and one[1] not in missing}
    defined = {
        name
        for library in {*libraries, *map(pathlib.Path, present)}
        for name, _ in symbols(library, "defined")
    }
    wanted: Wanted = collections.defaultdict(set)
    for library in libraries:
        owner_of = owners(library)
        for name, version in symbols(library, "undefined"):
            if owner_of.get(version) in missing:
                wanted[owner_of[version]].add((name, version))
            elif not version and name not in defined and not name.lstrip("_").startswith("Py"):
                for stub in missing:
                    wanted[stub].add((name, ""))
    return wanted


def make_stub(folder: pathlib.Path, library: str, exported: set[tuple[str, str]]) -> None:
    """Compiles the stand-in of one library. Every symbol is an alias of one function."""
    lines = [".text", "no_device:", f"mov ${NO_DEVICE}, %eax", "ret"]
    if said_by("uname", "-m").strip() == "aarch64":
        lines[2] = f"mov w0, #{NO_DEVICE}"
    by_version = collections.defaultdict(list)
    for number, (name, version) in enumerate(sorted(exported)):
        local = f"stub_{number}"
        lines += [f".globl {local}", f".type {local}, @function", f".set {local}, no_device"]
        at = f"{name}@@@{version}" if version else ""
        lines += [f".symver {local}, {at}"] if at else [f".globl {name}", f".set {name}, no_device"]
        by_version[version].append(name)
    with tempfile.TemporaryDirectory() as scratch:
        source, script = pathlib.Path(scratch) / "stub.s", pathlib.Path(scratch) / "versions"
        source.write_text("\n".join([*lines, '.section .note.GNU-stack,"",%progbits', ""]))
        nodes = [
            f"{version} {{ global: {'; '.join(names)}; }};"
            for version, names in by_version.items()
            if version
        ]
        script.write_text("\n".join(nodes) + "\n")
        options = [f"-Wl,--version-script={script}"] if nodes else []
        said_by(
            "cc",
            "-shared",
            "-nostdlib",
            f"-Wl,-soname,{library}",
            *options,
            "-o",
            folder / library,
            source,
        )


def main() -> int:
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        print("stub_libraries.py: give the lib folder of an installed torch", file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1])
    libraries = sorted(folder.glob("*.so*"))
    missing = set().union(*map(to_stand_in_for, libraries))
    missing -= {library.name for library in libraries}
    if not missing:
        return 0
    wanted = wanted_of(libraries, missing)
    for library in sorted(missing):
        make_stub(folder, library, wanted.get(library, set()))
    print(f"{len(missing)} stubs of {sum(map(len, wanted.values()))} symbols in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
