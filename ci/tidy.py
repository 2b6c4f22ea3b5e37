#!/usr/bin/env python3
"""Checks the rules of this tree that a reader would otherwise have to enforce by eye.

Who may include whom, where external headers live, how long files and functions may be, and forms
that hide mistakes. The rules are the tables at the top and the functions listed in RULES; each has
a row in ci/tidy_test.py that breaks it.
Needs Python 3.10 and nothing else.
"""
import argparse
import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

from tidy_source import Source, balanced, braces_only

# Folder -> folders it may include besides itself.
SPEC, ORACLE, JUDGE = "reference/spec", "reference/oracle", "reference/judge"
INCLUDES = {
    SPEC: [],
    ORACLE: [SPEC],
    JUDGE: [SPEC, ORACLE],
    "gpu": [SPEC],
    "distributed": [SPEC],
    "candidates": [SPEC],
    "golden": [SPEC, ORACLE],
    "property_tests": ["reference", "gpu", "distributed", "candidates", "golden"],
    "reports": [SPEC, JUDGE],
    "ci": ["reference", "gpu", "distributed", "candidates", "golden", "property_tests", "reports"],
}
# The one place that puts local steps, schedules and transports together.
ALSO_INCLUDES = {
    "distributed/candidates.cpp": [ORACLE, "gpu/candidates.h"],
    "distributed/double_step.cpp": [ORACLE],
}
TEST = r"_(test|property)\.(h|cpp|cu|py)$"
TEST_OR_BENCH = r"_(test|bench)\.(h|cpp|cu)$"  # these may include all of reference/

# External header -> paths that may include it, and the same in words.
HOMES = [
    (r"nccl\.h", r"^distributed/communicator_nccl", "distributed/communicator_nccl*"),
    (r"smpi/|simgrid/", r"^distributed/at_scale/ranks", "distributed/at_scale/ranks*"),
    (r"mpi\.h", r"^distributed/communicator_mpi\.", "distributed/communicator_mpi.*"),
    (r"rapidcheck", r"^property_tests/", "property_tests/"),
    (r"hwy/|\w*intrin\.h|arm_neon\.h", r"^reference/oracle/fast/", "reference/oracle/fast/"),
    (r"boost/context", r"^gpu/simt/", "gpu/simt/"),
    (r"elfutils/|dwarf\.h", r"^gpu/racecheck/", "gpu/racecheck/"),
    (r"cuda\w*\.h", r"^gpu/|^distributed/communicator_nccl|^candidates/(device_|examples/)",
     "gpu/, distributed/communicator_nccl*, candidates/device_* and candidates/examples/"),
    (r"cudnn\w*\.h", r"^gpu/cudnn/", "gpu/cudnn/"),
    (r"benchmark/", r"_bench\.cpp$|^ci/bench", "*_bench.cpp and ci/bench*"),
    (r"g(test|mock)/", TEST + "|^property_tests/", "*_test.cpp and property_tests/"),
    (r"CLI/", r"^ci/", "ci/"),
    (r"nlohmann/", r"^(ci|reports|golden|candidates)/",
     "ci/, reports/, golden/ and candidates/"),
]
# What golden/ may import in Python besides the standard library and itself. golden/real makes
# inputs, not answers, and checks them against other implementations; it is free.
GOLDEN_IMPORTS = [("numpy", r"^golden/"), ("flint", r"^golden/.*enclose")]

LINES_MAX, FUNCTION_LINES_MAX, KERNEL_LINES_MAX, BYTES_MAX = 600, 70, 120, 1 << 20
COLUMNS_MAX = {"cpp": 120, "python": 100}

# Words that no identifier may contain -> the word to use. EXTERNAL_NAMES are not ours to change.
VOCABULARY = {"tolerance": "bound", "atol": "bound", "rtol": "bound", "threshold": "bound or limit",
              "expected": "want", "actual": "got", "world size": "rank_count", "sut": "candidate",
              "chunk": "block, shard or tile", "backend": "candidate, communicator or device"}
EXTERNAL_NAMES = {"SIMT_BACKEND", "SDPBackend", "get_backend_version"}


class Form(NamedTuple):
    """A banned form: `pattern`, found in the view of a file whose language and path fit."""

    rule: str
    languages: str
    view: str
    pattern: str
    sentence: str
    only_in: str = ""
    except_in: str = r"(?!)"


WORD = r"\b(?:\w+_)?"
FORMS = [
    Form("namespace-std", "cpp", "code", r"using\s+namespace\s+std\s*;",
         "write std:: where a name is used"),
    Form("disabled-code", "cpp", "code", r"^\s*#\s*if\s+0\b",
         "delete disabled code; the history keeps it"),
    Form("disabled-test", "cpp python", "code", r"\bDISABLED_|@unittest\.skip\b",
         "mend the test or delete it; a disabled test looks green"),
    Form("later-mark", "cpp python script", "comments", r"\b(FIXME|TODO|XXX)\b",
         "do it now or open an issue; marks for later are not kept in the tree"),
    Form("hand-tolerance", "cpp python", "code",
         r"\b(EXPECT|ASSERT)_(NEAR|FLOAT_EQ|DOUBLE_EQ)\b|\b(Float|Double)(Near|Eq)\b"
         r"|AlmostEqual|\b(assert_)?all_?close\b|\bisclose\b|\bpytest\.approx\b"
         r"|\b(EXPECT_L[ET]|ASSERT_L[ET]|assertLess\w*)\s*\([^;\n]*(\de-\d|\b0\.0\d)",
         "compare bits, or ask for error <= bound with a derived bound; no tolerance by hand"),
    Form("fast-math", "script text", "uncommented",
         r"-ffast-math|-Ofast|-funsafe-math-optimizations|-use_fast_math",
         "drop the flag; every bound assumes IEEE arithmetic", r"CMake\w*\.\w+$|\.(cmake|sh)$"),
    Form("negative-acceptance", "cpp", "code",
         WORD + r"errors?(\[[^]]*\])?\s*>=?(?!>)|\bbound_used(\[[^]]*\])?\s*>=?(?!>)|"
         + WORD + r"bounds?(\[[^]]*\])?\s*(<=|<\s|<\w*error)",
         "write it positively, error <= bound, so that a NaN fails by form", r"^reference/judge/"),
    Form("abstract-class", "cpp", "code", r"\bvirtual\b[^;{}]*=\s*0\s*;",
         "use an aggregate and free functions; Communicator is the one abstract class",
         except_in=r"^distributed/communicator\.h$"),
    Form("tab", "cpp python script text", "text", r"\t", "indent with spaces"),
    Form("trailing-space", "cpp python script text", "text", r"[ \t\r]+$",
         "remove the white space at the end of the line"),
]


def layer_of(path):
    return next((folder for folder in INCLUDES if path.startswith(folder + "/")), None)


def lies_under(path, places):
    return any(path == place or path.startswith(place + "/") for place in places)


def folder(source, root):
    if source.language == "cpp" and layer_of(source.path) is None:
        yield 1, f"move it into one of {', '.join(INCLUDES)}: nothing says what it may include here"


def include_direction(source, root):
    layer = layer_of(source.path)
    allowed = INCLUDES.get(layer, []) + ALSO_INCLUDES.get(source.path, [])
    also = ["reference"] if re.search(TEST_OR_BENCH, source.path) else []
    for line, quote, target in source.includes():
        if layer and (root / target).is_file() and not lies_under(target, [layer, *allowed, *also]):
            may = ", ".join(allowed) or "nothing of the others"
            yield line, f"do without {target}: {layer} may include {may}; move it or pass it in"
        is_external = quote == "<" and re.search(r"[./]", target) and not (root / target).is_file()
        if layer == SPEC and is_external and not also:
            yield line, f"do without <{target}>: {SPEC} uses the standard library only"


def include_path(source, root):
    for line, quote, target in source.includes():
        if (quote == '"') != (root / target).is_file():
            right = f'"{target}"' if quote == "<" else f"an existing file, or <{target}>"
            yield line, f"include {right}: quotes are for files of this tree, named from its root"


def header_home(source, root):
    for line, _, target in source.includes():
        for header, home, words in HOMES:
            if re.match(header, target) and not re.search(home, source.path):
                yield line, f"include <{target}> only in {words}"


def golden_import(source, root):
    is_golden = re.match(r"golden/(?!real/)", source.path) and not re.search(TEST, source.path)
    ours = {path.stem for path in (root / "golden").rglob("*.py")} | {"golden"}
    ours |= {name for name, where in GOLDEN_IMPORTS if re.search(where, source.path)}
    for node in ast.walk(source.tree) if source.tree and is_golden else []:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        for module in sorted({name.split(".")[0] for name in names} - ours):
            if module not in sys.stdlib_module_names:
                yield node.lineno, f"do without {module}: golden answers use NumPy or flint alone"


def file_length(source, root):
    count = source.text.count("\n")
    if source.language != "text" and count > LINES_MAX:
        yield LINES_MAX + 1, f"split the file: it has {count} lines, at most {LINES_MAX} may be"


def function_length(source, root):
    for function in source.functions():
        count = function.line_last - function.line_first + 1
        count_max = KERNEL_LINES_MAX if "__global__" in function.header else FUNCTION_LINES_MAX
        if count > count_max:
            sentence = f"split {function.name}: it has {count} lines, at most {count_max} may be"
            yield function.line_first, sentence


def columns(source, root):
    columns_max = COLUMNS_MAX.get(source.language)
    for number, line in enumerate(source.text.split("\n"), 1):
        if columns_max and len(line) > columns_max:
            yield number, f"break the line: {len(line)} columns, at most {columns_max} may be"


def unreadable(source, root):
    if source.language == "python" and source.tree is None:
        yield 1, "mend the syntax: Python cannot parse this file"
    if source.language == "cpp" and not balanced(braces_only(source.code)):
        yield 1, "balance the braces of every #if branch: functions cannot be measured here"


def vocabulary(source, root):
    if source.language not in ("cpp", "python"):
        return
    for match in re.finditer(r"(?<!\w)[A-Za-z_]\w*", source.code):
        external = source.language == "python" and source.code[match.start() - 1] == "."
        if external or match.group() in EXTERNAL_NAMES:
            continue
        words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", match.group())]
        words += [" ".join(pair) for pair in zip(words, words[1:])]
        for word in sorted(set(words) | {w[:-1] for w in words if w.endswith("s")}):
            if word in VOCABULARY:
                sentence = f"rename {match.group()}: our word is {VOCABULARY[word]}"
                yield source.line_at(match.start()), sentence


def final_newline(source, root):
    if source.text and not source.text.endswith("\n"):
        yield source.text.count("\n") + 1, "end the file with a newline"


def pragma_once(source, root):
    if source.suffix in (".h", ".cuh") and not re.search(r"^#pragma once$", source.code, re.M):
        yield 1, "put #pragma once at the head of the header"


CPP_CHECK = re.compile(r"\b((EXPECT|ASSERT|RC_ASSERT|RC_FAIL)(_\w+)?|FAIL|ADD_FAILURE(_AT)?"
                       r"|expect_\w+)\s*\(")
A_TEST = re.compile(r"(TYPED_)?TEST(_[FP])?\(|RC_GTEST_\w*PROP\(|test_")


def asserts(function):
    """Whether a test's body checks anything; a helper whose name begins with expect_ does."""
    if isinstance(function.body, str):
        return CPP_CHECK.search(function.body)
    calls = [n.func for n in ast.walk(function.body) if isinstance(n, ast.Call)]
    names = [getattr(call, "attr", getattr(call, "id", "")) for call in calls]
    checks = [name for name in names if re.match(r"assert|expect_|fail$", name)]
    return checks or any(isinstance(n, ast.Assert) for n in ast.walk(function.body))


def tests_of(source):
    return [function for function in source.functions() if A_TEST.match(function.name)]


def test_asserts(source, root):
    if re.search(TEST, source.path):
        for function in tests_of(source):
            if not asserts(function):
                yield function.line_first, f"let {function.name} check something: it can never fail"


def test_file_tests(source, root):
    if re.search(TEST, source.path) and source.suffix != ".h" and not tests_of(source):
        yield 1, "add a test or rename the file: it is named a test and has none"


RULES = {
    "folder": folder,
    "include-direction": include_direction,
    "include-path": include_path,
    "header-home": header_home,
    "golden-import": golden_import,
    "file-length": file_length,
    "function-length": function_length,
    "columns": columns,
    "unreadable": unreadable,
    "vocabulary": vocabulary,
    "final-newline": final_newline,
    "pragma-once": pragma_once,
    "test-asserts": test_asserts,
    "test-file-tests": test_file_tests,
}
BIG_FILE = "big-file"  # the one rule about files that are not read
RULE_NAMES = [*RULES, *(form.rule for form in FORMS), BIG_FILE]


def form_findings(source):
    for form in FORMS:
        fits = source.language in form.languages.split() and re.search(form.only_in, source.path)
        if fits and not re.search(form.except_in, source.path):
            for match in re.finditer(form.pattern, getattr(source, form.view), re.M):
                yield source.line_at(match.start()), form.sentence, form.rule


def file_findings(root, path):
    """All findings in one file as (path, line, sentence, rule)."""
    if path.startswith("golden/data/"):
        return []
    data = (root / path).read_bytes()
    if len(data) > BYTES_MAX:
        sentence = f"move it to golden/data: {len(data)} bytes, at most {BYTES_MAX} may be"
        return [(path, 1, sentence, BIG_FILE)]
    if b"\0" in data:
        return []
    source = Source(path, data.decode(errors="replace"))
    found = set(form_findings(source))
    for rule, check in RULES.items():
        found |= {(line, sentence, rule) for line, sentence in check(source, root)}
    return [(path, *finding) for finding in sorted(found)]


def files_under(root):
    """What git tracks or would track; outside a checkout, everything but build products."""
    if (root / ".git").exists() and shutil.which("git"):
        command = ["git", "-C", str(root), "ls-files", "-z", "-c", "-o", "--exclude-standard"]
        listing = subprocess.run(command, capture_output=True, text=True)
        if listing.returncode == 0:
            return sorted({p for p in listing.stdout.split("\0") if (root / p).is_file()})
    found = []
    for where, folders, names in os.walk(root):
        is_product = re.compile(r"build|\.git$|\.venv$|\.cache$|__pycache__$").match
        folders[:] = [name for name in folders if not is_product(name)]
        found += [(pathlib.Path(where) / name).relative_to(root).as_posix() for name in names]
    return sorted(p for p in found if (root / p).is_file() and not p.endswith(".pyc"))


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("root", nargs="?", default=default, type=pathlib.Path,
                        help="the tree to check (default: the one this script is in)")
    root = parser.parse_args(arguments).root
    paths = files_under(root)
    if not paths:
        print(f"ci/tidy.py: {root} holds no files; name the root of a tree", file=sys.stderr)
        return 2
    findings = [finding for path in paths for finding in file_findings(root, path)]
    for path, line, sentence, rule in findings:
        print(f"{path}:{line}: {sentence} [{rule}]")
    count_files = len({path for path, *_ in findings})
    if findings:
        print(f"{len(findings)} findings in {count_files} files")
        return 1
    print(f"{len(paths)} files tidy")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
