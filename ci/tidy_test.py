"""Tests of ci/tidy.py: every rule finds the tree that breaks it and no other."""
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import tidy
from tidy_source import Source

TEST_OK = "TEST(Mask, HidesTheFuture) { EXPECT_TRUE(true); }\n"
HEADER = "#pragma once\n"


def function_of(lines, signature="void f()"):
    return signature + " {\n" + "  g();\n" * (lines - 2) + "}\n"


def python_function_of(lines):
    return "def f():\n" + "    g()\n" * (lines - 1)


# Rule, files that break it (and no other rule), files that do not. One string alone is gpu/a.cpp.
TABLE = [
    ("folder", {"docs/a.cpp": "int a;\n"}, {"ci/a.cpp": "int a;\n"}),
    ("folder", {"reference/a.cpp": "int a;\n"},
     {"reference/spec/a.cpp": "int a;\n", "docs/a.md": "a\n"}),
    ("include-direction", {"reference/spec/a.cpp": "#include <fmt/core.h>\n"},
     {"reference/spec/a.cpp": "#include <vector>\n", "gpu/a.cpp": "#include <fmt/core.h>\n"}),
    ("include-direction", {"reference/spec/a.cpp": "#include <unistd.h>\n"},
     {"reference/spec/a_bench.cpp": "#include <benchmark/benchmark.h>\n"}),
    ("include-path", '#include "a.h"\n', {"gpu/a.h": HEADER, "gpu/a.cpp": '#include "gpu/a.h"\n'}),
    ("include-path", {"gpu/a.h": HEADER, "gpu/a.cpp": "#include <gpu/a.h>\n"},
     {"gpu/a.cpp": 'auto kText = R"(\n#include "a.h"\n)";\n'}),
    ("header-home", {"distributed/ring.cpp": "#include <nccl.h>\n"},
     {"distributed/communicator_nccl.cpp": "#include <nccl.h>\n#include <cuda_runtime.h>\n"}),
    ("header-home", {"distributed/ring.cpp": "#include <mpi.h>\n"},
     {"distributed/communicator_mpi.cpp": "#include <mpi.h>\n"}),
    ("header-home", {"distributed/communicator_mpi.cpp": "#include <smpi/smpi.h>\n"},
     {"distributed/at_scale/ranks.cpp": "#include <smpi/smpi.h>\n#include <simgrid/engine.h>\n"}),
    ("header-home", "#include <rapidcheck.h>\n",
     {"property_tests/a.h": HEADER + "#include <rapidcheck/gtest.h>\n"}),
    ("header-home", {"reference/oracle/a.cpp": "#include <hwy/highway.h>\n"},
     {"reference/oracle/fast/a.cpp": "#include <hwy/highway.h>\n#include <immintrin.h>\n"}),
    ("header-home", {"reference/oracle/a.cpp": "#include <immintrin.h>\n"}, {}),
    ("header-home", "#include <boost/context/fiber.hpp>\n",
     {"gpu/simt/a.cpp": "#include <boost/context/detail/fcontext.hpp>\n"}),
    ("header-home", {"candidates/a.cpp": "#include <cuda_runtime.h>\n"},
     {"candidates/device_a.cpp": "#include <cuda_bf16.h>\n",
      "gpu/a.cu": "#include <cuda_fp16.h>\n"}),
    ("header-home", "#include <benchmark/benchmark.h>\n",
     {"gpu/a_bench.cpp": "#include <benchmark/benchmark.h>\n"}),
    ("header-home", "#include <gtest/gtest.h>\n",
     {"gpu/a_test.cpp": "#include <gtest/gtest.h>\n" + TEST_OK}),
    ("header-home", "#include <CLI/CLI.hpp>\n", {"ci/a.cpp": "#include <CLI/CLI.hpp>\n"}),
    ("header-home", "#include <nlohmann/json.hpp>\n",
     {"reports/a.cpp": "#include <nlohmann/json.hpp>\n"}),
    ("golden-import", {"golden/generate.py": "import scipy.special\n"},
     {"golden/generate.py": "import json, numpy as np\nfrom masks import full\n",
      "golden/masks.py": "full = 1\n"}),
    ("golden-import", {"golden/generate.py": "from flint import arb\n"},
     {"golden/enclose.py": "from flint import arb\n", "golden/real/check.py": "import torch\n"}),
    ("file-length", "int a;\n" * 601, "int a;\n" * 600),
    ("file-length", {"ci/a.sh": "true\n" * 601}, {"docs/a.md": "a\n" * 601}),
    ("function-length", function_of(71), function_of(70)),
    ("function-length", function_of(121, "__global__ void f()"),
     function_of(120, "__global__ void f()")),
    ("function-length", {"ci/a.py": python_function_of(71)}, {"ci/a.py": python_function_of(70)}),
    ("columns", "//" + "a" * 119 + "\n", "//" + "a" * 118 + "\n"),
    ("columns", {"ci/a.py": "#" + "a" * 100 + "\n"}, {"ci/a.py": "#" + "a" * 99 + "\n"}),
    ("unreadable", "void f() {\n", "#if A\nvoid f() {\n#else\nvoid f(int) {\n#endif\n}\n"),
    ("unreadable", {"ci/a.py": "def f(:\n"}, {"ci/a.py": "a = 1\n"}),
    ("vocabulary", "int world_size;\n",
     "// world_size is not our word, rank_count is\nint rank_count;\n"),
    ("vocabulary", "struct ChunkList;\n", "int expect_size, bound;\n"),
    ("vocabulary", "int kBackends;\n", "namespace SIMT_BACKEND {}\n"),
    ("vocabulary", {"ci/a.py": "expected = 1\n"}, {"ci/a.py": "want = torch.backends\n"}),
    ("final-newline", "int a;", "int a;\n"),
    ("final-newline", {"docs/a.md": "a"}, {"docs/a.md": "a\n"}),
    ("pragma-once", {"gpu/a.h": "// #pragma once\n"}, {"gpu/a.h": "// What a is.\n" + HEADER}),
    ("pragma-once", {"gpu/a.cuh": "int a;\n"}, {"gpu/a.cuh": HEADER}),
    ("test-asserts",
     {"gpu/a_test.cpp": TEST_OK + "TEST(A, B) {\n  f();\n  // EXPECT_TRUE(g());\n}\n"},
     {"gpu/a_test.cpp": "TEST_F(A, B) { expect_same(f()); }\nTEST_P(A, C) { FAIL() << 1; }\n"}),
    ("test-asserts", {"property_tests/a_property.cpp": "RC_GTEST_PROP(A, B, (int a)) { f(a); }\n"},
     {"property_tests/a_property.cpp": "RC_GTEST_PROP(A, B, (int a)) { RC_ASSERT(f(a)); }\n"}),
    ("test-asserts", {"ci/a_test.py": "def test_a():\n    f()\n"},
     {"ci/a_test.py": "class A:\n    def test_a(self):\n        self.assertEqual(1, 1)\n"}),
    ("test-file-tests", {"gpu/a_test.cpp": "int f() { return 1; }\n"}, {"gpu/a_test.cpp": TEST_OK}),
    ("test-file-tests", {"ci/a_test.py": "assert 1\n"},
     {"ci/a_test.py": "def test_a():\n    assert 1\n"}),
    ("namespace-std", "using namespace std;\n",
     "using namespace std::chrono_literals;\nusing std::abs;\n"),
    ("disabled-code", "#if 0\n#endif\n", "#if 01\n#endif\n"),
    ("disabled-test", {"gpu/a_test.cpp": "TEST(A, DISABLED_B) { EXPECT_TRUE(a); }\n"},
     {"gpu/a_test.cpp": "// not DISABLED_\n" + TEST_OK}),
    ("disabled-test", {"ci/a_test.py": "@unittest.skip\ndef test_a():\n    assert 1\n"},
     {"ci/a_test.py": "@unittest.skipUnless(a, 'no GPU')\ndef test_a():\n    assert 1\n"}),
    ("later-mark", "// TODO: more\n", 'auto kText = "TODO";  // done\n'),
    ("later-mark", {"ci/a.py": "# FIXME\n"}, {"ci/a.py": "text = 'FIXME'\n"}),
    ("later-mark", {"CMakeLists.txt": "# XXX\n"}, {"CMakeLists.txt": "# done\n"}),
    ("hand-tolerance", {"gpu/a_test.cpp": "TEST(A, B) { EXPECT_NEAR(a, b, 1e-6); }\n"},
     {"gpu/a_test.cpp": "TEST(A, B) { EXPECT_LE(std::abs(a - b), bound); }\n"}),
    ("hand-tolerance", {"gpu/a_test.cpp": "TEST(A, B) { ASSERT_DOUBLE_EQ(a, b); }\n"},
     {"gpu/a_test.cpp": "TEST(A, B) { ASSERT_EQ(a, b); }\n"}),
    ("hand-tolerance", {"gpu/a_test.cpp": "TEST(A, B) { EXPECT_LE(std::abs(a - b), 1e-6); }\n"},
     {"gpu/a_test.cpp": "TEST(A, B) { EXPECT_EQ(f(1e-6), 0); EXPECT_LE(bound_used, 1); }\n"}),
    ("hand-tolerance", {"ci/a.py": "np.allclose(a, b)\n"}, {"ci/a.py": "np.array_equal(a, b)\n"}),
    ("hand-tolerance", {"ci/a_test.py": "def test_a(self):\n    self.assertAlmostEqual(1, 1)\n"},
     {}),
    ("fast-math", {"CMakeLists.txt": 'add_compile_options("-ffast-math")\n'},
     {"CMakeLists.txt": "# -ffast-math is refused\nadd_compile_options(-ffp-contract=off)\n"}),
    ("fast-math", {"gpu/CMakeLists.txt": "set(FLAGS --use_fast_math)\n"},
     {"docs/a.md": "no -ffast-math\n"}),
    ("fast-math", {"CMakePresets.json": '{"CMAKE_CXX_FLAGS": "-Ofast"}\n'},
     {"CMakePresets.json": "{}\n"}),
    ("negative-acceptance", {"reference/judge/a.cpp": "bool f() { return error > bound; }\n"},
     {"reference/judge/a.cpp": "std::vector<Error> v;\nbool f() { return error <= bound; }\n"}),
    ("negative-acceptance", {"reference/judge/a.cpp": "bool f() { return !(bound[i] < e); }\n"},
     {"reference/judge/a.cpp": "auto f() { return row_bound<int>() >= 0 && bound_used <= 1; }\n"}),
    ("negative-acceptance",
     {"reference/judge/a.h": HEADER + "inline bool f() { return e.abs_errors[i]>=b; }\n"},
     {"gpu/a.cpp": "bool f() { return error > bound; }\n"}),
    ("negative-acceptance", {"reference/judge/a.cpp": "bool f() { return bound_used > 1; }\n"}, {}),
    ("abstract-class", "struct A {\n  virtual int f(int) const = 0;\n};\n",
     {"distributed/communicator.h": HEADER + "struct A {\n  virtual int f() = 0;\n};\n"}),
    ("abstract-class", "struct A {\n  virtual void f()\n      = 0;\n};\n",
     "void f(int* a) { (*a) = 0; }\n"),
    ("tab", "\tint a;\n", "  int a;\n"),
    ("tab", {"docs/a.md": "a\tb\n"}, {"docs/a.md": "a b\n"}),
    ("trailing-space", "int a; \n", "int a;\n"),
    ("trailing-space", {"docs/a.md": "a\r\n"}, {"docs/a.md": "\n a\n"}),
    ("big-file", {"docs/a.txt": "a\n" * (1 << 20)}, {"golden/data/a.txt": "a\n" * (1 << 20)}),
]

# The table "who may include whom" once more, written out as pairs (from, to) of files.
FILES = {"spec": "reference/spec/x", "oracle": "reference/oracle/x",
         "fast": "reference/oracle/fast/x",
         "judge": "reference/judge/x", "gpu": "gpu/x", "simt": "gpu/simt/x",
         "distributed": "distributed/x",
         "candidates": "candidates/x", "golden": "golden/x", "property_tests": "property_tests/x",
         "reports": "reports/x", "ci": "ci/x"}
MAY_INCLUDE = """
spec: spec
oracle: spec oracle fast
fast: spec oracle fast
judge: spec oracle fast judge
gpu: spec gpu simt
simt: spec gpu simt
distributed: spec distributed
candidates: spec candidates
golden: spec oracle fast golden
property_tests: spec oracle fast judge gpu simt distributed candidates golden property_tests
reports: spec judge reports
ci: spec oracle fast judge gpu simt distributed candidates golden property_tests reports ci
"""


def run(files):
    """Writes the tree, checks it, and returns (exit code, rules found, output)."""
    files = {"gpu/a.cpp": files} if isinstance(files, str) else {"README.md": "a\n", **files}
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            file = pathlib.Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = tidy.main([folder])
    lines = output.getvalue().splitlines()
    return code, {line.split("[")[-1].rstrip("]") for line in lines if line.endswith("]")}, lines


class Rules(unittest.TestCase):
    def test_each_rule_finds_what_breaks_it_and_nothing_else(self):
        for rule, bad, _ in TABLE:
            with self.subTest(rule=rule, bad=bad):
                code, found, _ = run(bad)
                self.assertEqual((code, found), (1, {rule}))

    def test_each_rule_is_silent_on_what_keeps_it(self):
        for rule, _, good in TABLE:
            with self.subTest(rule=rule, good=good):
                self.assertEqual(run(good)[:2], (0, set()))

    def test_every_rule_has_a_row(self):
        self.assertEqual({rule for rule, _, _ in TABLE}, set(tidy.RULE_NAMES))

    def test_a_rule_taken_away_is_missed_by_its_rows(self):
        for rule, bad, _ in TABLE:
            rules = {name: check for name, check in tidy.RULES.items() if name != rule}
            forms = [form for form in tidy.FORMS if form.rule != rule]
            with mock.patch.object(tidy, "RULES", rules), mock.patch.object(tidy, "FORMS", forms):
                self.assertEqual(run(bad)[0], int(rule == tidy.BIG_FILE), rule)

    def test_every_word_of_the_vocabulary_is_found(self):
        for word in tidy.VOCABULARY:
            with self.subTest(word=word):
                name = word.replace(" ", "_")
                self.assertEqual(run(f"int {name}_max;\n")[1], {"vocabulary"})


class Directions(unittest.TestCase):
    def test_every_pair_of_folders_is_allowed_or_found_as_the_table_says(self):
        rows = [line.split(": ") for line in MAY_INCLUDE.split("\n") if line]
        self.assertEqual([row[0] for row in rows], list(FILES))
        for including, allowed in rows:
            for included, header in FILES.items():
                source = f'#include "{header}.h"\n'
                found = run({header + ".h": HEADER, FILES[including] + ".cpp": source})[1]
                want = set() if included in allowed.split() else {"include-direction"}
                self.assertEqual(found, want, f"{including} -> {included}")

    def test_tests_and_benchmarks_may_include_all_of_reference(self):
        for path in ("gpu/a_test.cpp", "gpu/a_bench.cpp"):
            for header, want in (("reference/oracle/x.h", set()),
                                 ("distributed/x.h", {"include-direction"})):
                found = run({path: f'#include "{header}"\n' + TEST_OK, header: HEADER})[1]
                self.assertEqual(found, want, f"{path} -> {header}")

    def test_only_the_composition_root_of_distributed_may_include_steps(self):
        for header in ("reference/oracle/x.h", "gpu/candidates.h"):
            text = {header: HEADER, "distributed/candidates.cpp": f'#include "{header}"\n'}
            self.assertEqual(run(text)[1], set())
            text = {header: HEADER, "distributed/ring.cpp": f'#include "{header}"\n'}
            self.assertEqual(run(text)[1], {"include-direction"})
        text = {"gpu/flash.h": HEADER, "distributed/candidates.cpp": '#include "gpu/flash.h"\n'}
        self.assertEqual(run(text)[1], {"include-direction"})


class Functions(unittest.TestCase):
    def expect_functions(self, text, *want):
        found = Source("gpu/a.cpp", text).functions()
        self.assertEqual([(f.name, f.line_last - f.line_first + 1) for f in found], list(want))

    def test_braces_in_literals_comments_and_directives_do_not_count(self):
        literals = "g(\"{\", '{', R\"x({)\")x\", 1'000, '}');"
        self.expect_functions("void f() {\n// {\n/* { */ " + literals + "\n#define A {\n}\n",
                              ("f", 5))

    def test_types_namespaces_and_initialisers_are_not_functions(self):
        self.expect_functions("namespace a {\n"
                              "template <class T = int>\n"
                              "struct alignas(16) B : C<T> {\n  int x{1};\n};\n"
                              "enum class D : int { kE };\n"
                              "const auto kF = make({\n1,\n2});\n"
                              "const int kG = f(1) + B{1}.x;\n"
                              "INSTANTIATE_TEST_SUITE_P(A, B, Values(f(1), B{1}));\n"
                              "int g[] = {1};\n"
                              "}\n"
                              'extern "C" {\nint h(int a);\n}\n')

    def test_members_operators_constructors_and_lambdas_are_functions(self):
        self.expect_functions(
            "struct Ab {\n"
            "  explicit Ab(int x)\n      : b_(x) {\n  }\n"
            "  bool operator==(A a) const {\n    return true; }\n"
            "  int f() const noexcept(true) override {\n  }\n"
            "};\n"
            "const auto kG = [](int x) {\n  return x; };\n"
            "template <typename T, int n = 3>\nauto h(T a = 1) -> std::vector<T> {\n}\n"
            "__global__ void __launch_bounds__(128) k(int n) {\n}\n",
            ("Ab", 3), ("operator==", 2), ("f", 2), ("lambda", 2), ("h", 3), ("k", 2))

    def test_a_lambda_and_a_local_class_count_towards_their_function(self):
        text = "void f() {\n  struct A { void g() {} };\n  auto h = [] {\n  };\n}\nvoid k() {}\n"
        self.expect_functions(text, ("f", 5), ("k", 1))


class Command(unittest.TestCase):
    def test_a_finding_names_path_line_and_mend(self):
        code, _, lines = run("int a;\nusing namespace std;\n")
        self.assertEqual(lines, ["gpu/a.cpp:2: write std:: where a name is used [namespace-std]",
                                 "1 findings in 1 files"])
        self.assertEqual(code, 1)

    def test_a_tidy_tree_is_counted(self):
        self.assertEqual(run({"gpu/a.cpp": "int a;\n"}), (0, set(), ["2 files tidy"]))

    def test_binary_files_and_build_products_are_skipped(self):
        files = {"docs/a.png": b"\0\t", "build/a.cpp": "\t", "build-x/a.cpp": "\t",
                 "__pycache__/a.pyc": "\t"}
        self.assertEqual(run(files), (0, set(), ["2 files tidy"]))

    def test_an_empty_or_missing_tree_is_bad_input(self):
        with tempfile.TemporaryDirectory() as folder:
            for root in (folder, folder + "/none"):
                with contextlib.redirect_stderr(io.StringIO()) as errors:
                    self.assertEqual(tidy.main([root]), 2)
                self.assertIn("holds no files", errors.getvalue())

    def test_in_a_checkout_ignored_files_are_left_alone_and_new_ones_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            subprocess.run(["git", "init", "-q", folder], check=True)
            for name, text in ((".gitignore", "out/\n"), ("new.md", "\ta\n"), ("out/a.md", "a")):
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).write_text(text)
            self.assertEqual(tidy.files_under(root), [".gitignore", "new.md"])

    def test_the_command_runs_from_anywhere_and_has_help(self):
        script = str(pathlib.Path(tidy.__file__).resolve())
        command = [sys.executable, script, "--help"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn("root", done.stdout)


if __name__ == "__main__":
    unittest.main()
