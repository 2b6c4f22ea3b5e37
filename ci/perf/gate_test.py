"""What CI asks, on made-up builds: only what is slower twice fails, all else is said and passes."""

import os
import shutil
import subprocess
import unittest
import unittest.mock

import gate
import perf_test


METRIC_COUNTED = perf_test.METRICS[1]


class Gate(perf_test.MadeUpRepository):
    def commits(self, *builds, small=perf_test.METRICS, source="reference/a.cpp"):
        """A repository of one commit per build, each of another source."""
        root = self.path / "repository"
        root.mkdir()
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        for at, build in enumerate(builds):
            for name, text in (
                (source, f"int a = {at};\n"),
                ("ci/perf/small.txt", "\n".join(small)),
                ("ci/perf/counted.txt", METRIC_COUNTED),
            ):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text + "\n")
            self.git(root, "add", ".")
            self.git(root, "commit", "-q", "-m", str(at))
            if build:
                self.place(root, build)
        return root

    def ask(self, root, *arguments):
        return self.run_main(gate, arguments, root, has_valgrind=True)

    def expect_not_decided(self, done, words):
        self.assertEqual(done.returncode, gate.NOT_DECIDED, done.stdout + done.stderr)
        self.assertIn("not run: not decided: ", done.stdout)
        self.assertIn(words, done.stdout)

    def test_a_slower_commit_is_measured_again_and_fails_unless_accepted(self):
        root = self.commits(self.build(10), self.build(11))
        done = self.ask(root)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("1 slower; measured again", done.stderr)
        self.assertRegex(done.stdout, r"slower twice: \+(9|10)\.\d %")
        accepted = self.path / "accepted.txt"
        accepted.write_text(f"{perf_test.METRICS[0]}|1.15|exact rounding costs this\n")
        self.assertEqual(self.ask(root, "--accepted", str(accepted)).returncode, 0)

    def test_more_instructions_fail_whatever_the_times_are(self):
        more = self.build(10, instructions=1_020_000)
        for build in (self.build(10), "#!/bin/sh\nexit 3\n# instructions 1000000\n"):
            shutil.rmtree(self.path / "repository", ignore_errors=True)
            done = self.ask(self.commits(build, more))
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("more instructions: +2.0 % [+2.0, +2.0]  instructions", done.stdout)

    def test_an_equal_commit_passes(self):
        done = self.ask(self.commits(self.build(10), self.build(10)))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("no regression in 2 metrics", done.stdout)

    def test_what_is_slower_only_once_does_not_fail(self):
        # Slow in its first 15 calls: the first comparison sees it, the second does not.
        once = (
            self.build(10)
            .replace(
                "#!/bin/sh\n",
                f"#!/bin/sh\necho >> {self.path}/calls\n"
                f"[ $(wc -l < {self.path}/calls) -le 15 ] && slow=1.2 || slow=1\n",
            )
            .replace("-v seed", "-v slow=$slow -v seed")
            .replace("10 * (1", "10 * slow * (1")
        )
        done = self.ask(self.commits(self.build(10), once))
        self.assertIn("1 slower; measured again", done.stderr)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_commit_that_changes_nothing_timed_is_not_measured(self):
        root = self.commits(None, None, source="docs/a.md")
        done = self.ask(root)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("nothing that is timed differs", done.stdout)

    def test_what_cannot_be_decided_is_said_and_fails_nothing(self):
        root = self.commits(self.build(10))
        self.expect_not_decided(self.ask(root), "no commit before this one")

    def test_a_base_that_does_not_build_decides_nothing(self):
        root = self.commits(None, self.build(10))
        self.expect_not_decided(self.ask(root), "does not build; its log is")

    def test_builds_beyond_their_share_are_not_begun_or_ended(self):
        root = self.commits(None, self.build(10))
        self.expect_not_decided(self.ask(root, "--minutes-build", "0"), "was not built within 0 s")
        (root / "build" / ".ninja_log").write_text("# ninja log v5\n0\t900000\t1\ta.o\tx\n")
        self.expect_not_decided(self.ask(root), "a compiler cache (ccache) makes it quick")

    def test_a_build_that_times_nothing_decides_nothing(self):
        root = self.commits("#!/bin/sh\necho gone >&2; exit 3\n", self.build(10))
        self.expect_not_decided(self.ask(root), "could not be timed")

    def test_a_control_that_differs_decides_nothing(self):
        # Base and control are one file; every second call of it is slow.
        uneven = (
            self.build(10)
            .replace(
                "#!/bin/sh\n",
                f"#!/bin/sh\necho >> {self.path}/calls\n"
                f"slow=$(( $(wc -l < {self.path}/calls) % 2 ))\n",
            )
            .replace("-v seed", "-v slow=$slow -v seed")
            .replace("10 * (1", "10 * (1 + slow) * (1")
        )
        root = self.commits(uneven, self.build(10))
        done = self.ask(root)
        self.assertIn(done.returncode, (gate.NOT_DECIDED, 0), done.stdout + done.stderr)

    def test_a_shallow_clone_knows_no_commit_before(self):
        root = self.commits(self.build(10), self.build(11))
        shallow = self.path / "shallow"
        words = ["git", "clone", "-q", "--depth", "1", f"file://{root}", str(shallow)]
        subprocess.run(words, check=True)
        self.expect_not_decided(self.ask(shallow), "a shallow clone?")

    def test_a_merge_is_held_against_its_first_parent_and_edits_are_not_judged(self):
        root = self.commits(self.build(10), self.build(10))
        self.git(root, "checkout", "-q", "-b", "side", "HEAD~1")
        self.git(root, "commit", "-q", "--allow-empty", "-m", "side")
        self.git(root, "checkout", "-q", "-")
        self.git(root, "merge", "-q", "--no-ff", "-m", "merge", "side")
        (root / "reference" / "a.cpp").write_text("int edited;\n")
        done = self.ask(root)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        first = self.git(root, "rev-parse", "HEAD^1")[:12]
        self.assertIn(f"against {first}: nothing that is timed differs", done.stdout)
        self.assertIn("only what is committed is judged", done.stderr)

    def test_one_core_is_enough(self):
        root = self.commits(self.build(10), self.build(10))
        with unittest.mock.patch.dict(os.environ, {"RINGPROOF_JOBS": "1"}):
            self.assertEqual(self.ask(root).returncode, 0)

    def test_what_is_slower_once_and_then_not_decided_is_said(self):
        # The base ends after its share of the first comparison: two calls a round.
        base = self.build(10).replace(
            "#!/bin/sh\n",
            f"#!/bin/sh\necho >> {self.path}/calls\n"
            f"[ $(wc -l < {self.path}/calls) -gt 30 ] && exit 3\n",
        )
        root = self.commits(base, self.build(12))
        self.expect_not_decided(self.ask(root), "1 slower once, but when measured again: a build")

    def test_an_unknown_base_is_bad_input(self):
        done = self.ask(self.commits(self.build(10)), "--base", "nowhere")
        self.assertEqual(done.returncode, 2)
        self.assertIn("'nowhere' is no commit", done.stderr)


if __name__ == "__main__":
    unittest.main()
