"""ci/perf.py as a user calls it, on made-up builds: a script each that writes times it was told."""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
import unittest

import builds
import page  # noqa: F401  before any fork
import perf

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASE = "fwd/fp32/b1.hq1.hkv1.sq4.skv4.dqk8.dv8/full/scale0.5/gauss:1/bhsd/single"
METRICS = [f"forward flash_forward_fp32 {CASE}", f"reference {CASE}"]
# A build that needs `time_ms` for the first metric and 5 ms for the second, give or take.
BUILD = """#!/bin/sh
case "$*" in *--json*) ;; *) echo "measured work: 1.00 s of 2.00 s; empty"; exit ;; esac
while [ "$1" != --json ]; do shift; done
awk -v seed=$$ -v out="$2" 'BEGIN {{
  srand(seed);
  printf "{{\\"benchmarks\\": [" > out;
  row = "%s{{\\"name\\": \\"%s/min_time:0.030/manual_time\\", ";
  row = row "\\"real_time\\": %f, \\"time_unit\\": \\"ms\\"}}";
  printf row, "", "{names[0]}", {time_ms} * (1 + {noise} * (2 * rand() - 1)) > out;
  printf row, ",", "{names[1]}", 5 * (1 + 0.002 * (2 * rand() - 1)) > out;
  print "]}}" > out;
}}'
"""


# Counts what the last line of a build says, and a few more, as addresses of memory would have it.
VALGRIND = """#!/bin/sh
for word in "$@"; do case $word in */bin/ringproof) build=$word ;; esac; done
count=$(sed -n 's/^# instructions //p' $build)
echo "==1== Collected : $(( ${count:-0} ? count + $$ % 7 : 0 ))" >&2
"""


class MadeUpRepository(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)
        self.counted = self.path / "counted.txt"
        self.counted.write_text(METRICS[1] + "\n")

    def environment(self, root, has_valgrind=True):
        """With a stand-in of valgrind, or none."""
        tools = self.path / "tools"
        tools.mkdir(exist_ok=True)
        for name in ("sh", "awk", "git", "sed", "wc", "cat", "cmake", "ninja"):
            if (where := shutil.which(name)) and not (tools / name).exists():
                (tools / name).symlink_to(where)
        valgrind = tools / "valgrind"
        valgrind.unlink(missing_ok=True)
        if has_valgrind:
            valgrind.write_text(VALGRIND)
            valgrind.chmod(0o755)
        return {**os.environ, "RINGPROOF_PERF_ROOT": str(root), "PATH": str(tools)}

    def run_main(self, script, arguments, root, has_valgrind):
        """`script.main()` in a process of its own, which need not import SciPy anew."""
        streams = [tempfile.TemporaryFile("w+") for _ in range(2)]
        environment = self.environment(root, has_valgrind)
        child = os.fork()
        if child == 0:
            code = 3
            try:
                for at, stream in enumerate(streams, 1):
                    os.dup2(stream.fileno(), at)
                os.environ.update(environment)
                builds.ROOT, builds.KEPT = root, root / "build" / "perf"
                sys.argv = [script.__name__, *arguments]
                sys.stdout, sys.stderr = (os.fdopen(at, "w", 1) for at in (1, 2))
                code = script.main()
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        words = []
        for stream in streams:
            stream.seek(0)
            words.append(stream.read())
            stream.close()
        return subprocess.CompletedProcess(arguments, code, *words)

    def git(self, root, *words):
        git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run([*git, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def place(self, root, build):
        """`build` as what the last commit was built to."""
        commit = self.git(root, "rev-parse", "HEAD")
        command = root / "build" / "perf" / commit[:12] / "build" / "bin" / "ringproof"
        command.parent.mkdir(parents=True)
        command.write_text(build)
        command.chmod(command.stat().st_mode | stat.S_IEXEC)

    def repository(self, **builds):
        """A repository of its own whose commits are built already."""
        root = self.path / "repository"
        (root / "ci").mkdir(parents=True)
        for folder in ("ci/perf", "reports"):
            (root / folder).symlink_to(ROOT / folder)
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        for name, build in builds.items():
            self.git(root, "commit", "-q", "--allow-empty", "-m", name)
            self.git(root, "tag", name)
            self.place(root, build)
        return root

    def build(self, time_ms, noise=0.002, names=METRICS, instructions=10**6):
        text = BUILD.format(time_ms=time_ms, noise=noise, names=names)
        return f"{text}\n# instructions {instructions}\n"


class Perf(MadeUpRepository):
    def perf(self, root, *arguments, has_valgrind=False):
        asked = ["--counted", str(self.counted), "--out", str(self.path / "out"), *arguments]
        return self.run_main(perf, asked, root, has_valgrind)

    def test_more_instructions_are_a_regression_in_words_markdown_page_and_code(self):
        root = self.repository(old=self.build(10), new=self.build(10, instructions=1_010_000))
        done = self.perf(root, "old", "new", has_valgrind=True)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("Slower: 1 slower, 2 same", done.stdout)
        self.assertRegex(done.stdout, r"instructions reference.* 1\.010 M +\+1\.00 %")
        self.assertRegex(
            done.stdout, r"the same build differs from itself by \d\.\de[-+]0\d at most"
        )
        self.assertIn("| ▲ | instructions reference", (self.path / "out" / "perf.md").read_text())
        page = (self.path / "out" / "perf.html").read_text()
        self.assertEqual(page.count("<svg"), 4)
        self.assertIn("Change of every count of instructions", page)
        record = json.loads((self.path / "out" / "perf.json").read_text())
        self.assertEqual(len(record["instructions"]["head"]["instructions " + METRICS[1]]), 2)
        accepted = self.path / "accepted.txt"
        accepted.write_text(f"instructions {METRICS[1]}|1.02|a check that was missing\n")
        asked = ["old", "new", "--accepted", str(accepted)]
        self.assertEqual(self.perf(root, *asked, has_valgrind=True).returncode, 0)

    def test_a_change_of_count_within_the_margin_is_the_same(self):
        root = self.repository(old=self.build(10), new=self.build(10, instructions=1_004_000))
        done = self.perf(root, "old", "new", has_valgrind=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("No regression: 3 same", done.stdout)

    def test_without_valgrind_the_layer_says_so(self):
        root = self.repository(old=self.build(10), new=self.build(10, instructions=2_000_000))
        done = self.perf(root, "old", "new")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("instructions: not run: valgrind is not installed", done.stdout)

    def test_a_base_that_counts_nothing_is_named(self):
        root = self.repository(old=self.build(10, instructions=0), new=self.build(10))
        done = self.perf(root, "old", "new", has_valgrind=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("instructions: not run: the base was built before", done.stdout)

    def test_a_slower_head_is_a_regression_in_words_markdown_page_and_code(self):
        root = self.repository(old=self.build(10), new=self.build(11))
        done = self.perf(root, "old", "new")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("Slower: 1 slower, 1 same", done.stdout)
        self.assertIn("of one process, measured work: 1.00 s of 2.00 s", done.stdout)
        slow, same = (self.path / "out" / "perf.md").read_text().splitlines()[-2:]
        self.assertIn("flash_forward_fp32", slow)
        self.assertTrue(slow.endswith("slower |") and same.endswith("same |"))
        page = (self.path / "out" / "perf.html").read_text()
        self.assertIn("<svg", page)
        self.assertIn("▲ slower", page)
        record = json.loads((self.path / "out" / "perf.json").read_text())
        self.assertEqual(len(record["samples_ms"]["head"][METRICS[0]]), 15)

    def test_equal_builds_are_the_same_and_a_faster_head_is_no_regression(self):
        root = self.repository(old=self.build(10), new=self.build(10), fast=self.build(8))
        self.assertEqual(self.perf(root, "old", "new").returncode, 0)
        done = self.perf(root, "old", "fast")
        self.assertEqual(done.returncode, 0)
        self.assertIn("1 faster", done.stdout)

    def test_an_accepted_regression_passes_up_to_its_ratio(self):
        root = self.repository(old=self.build(10), new=self.build(11))
        accepted = self.path / "accepted.txt"
        for ratio, code in ((1.15, 0), (1.05, 1)):
            accepted.write_text(f"{METRICS[0]}|{ratio}|exact rounding costs this\n")
            done = self.perf(root, "old", "new", "--accepted", str(accepted))
            self.assertEqual(done.returncode, code, done.stdout)

    def test_what_stays_undecided_is_shown_and_fails_only_when_strict(self):
        root = self.repository(old=self.build(10, noise=0.2), new=self.build(10, noise=0.2))
        few = ["old", "new", "--pairs-max", "17", "--seed", "3"]
        done = self.perf(root, *few)
        self.assertIn("1 undecided", done.stdout)
        self.assertEqual((done.returncode, self.perf(root, *few, "--strict").returncode), (0, 3))

    def test_builds_that_share_no_metric_decide_nothing(self):
        root = self.repository(old=self.build(10), new=self.build(10, names=["other a", "other b"]))
        done = self.perf(root, "old", "new")
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("Nothing to compare", done.stdout)

    def test_bad_input_is_one_sentence(self):
        root = self.repository(
            old=self.build(10), broken="#!/bin/sh\necho no such metric >&2; exit 2\n"
        )
        bad = self.path / "bad.txt"
        bad.write_text("a metric without a reason|1.1|\n")
        for arguments, code, words in (
            (["old", "nowhere"], 2, "'nowhere' is no commit"),
            (["old", "old", "--metrics", "/nowhere"], 2, "'/nowhere' is no file"),
            (["old", "old", "--counted", "/nowhere"], 2, "'/nowhere' cannot be read"),
            (["old", "old", "--accepted", str(bad)], 2, "bad.txt:1: an accepted regression"),
            (["old", "old", "--pairs", "1"], 2, "--pairs must be at least 2"),
            (["old", "broken"], 3, "no such metric"),
        ):
            done = self.perf(root, *arguments)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertFalse((self.path / "out").exists())

    def test_a_commit_that_does_not_build_names_its_log(self):
        root = self.repository(old=self.build(10))
        self.git(root, "commit", "-q", "--allow-empty", "-m", "no CMake here")
        done = self.perf(root, "old", "HEAD")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("does not build; its log is", done.stderr)
        log = pathlib.Path(done.stderr.split("its log is ")[1].strip())
        self.assertIn("CMakeLists.txt", log.read_text())


if __name__ == "__main__":
    unittest.main()
