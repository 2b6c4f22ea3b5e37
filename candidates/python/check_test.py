#!/usr/bin/env python3
"""ringproof.check and `ringproof gate --candidate python:...` against the real command."""
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

import numpy as np

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
os.environ["RINGPROOF_BINARY"] = str(RINGPROOF)
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples/python")]

import attention_numpy  # noqa: E402
import ringproof  # noqa: E402

CASE = (
    "fwd/fp32/b1.hq4.hkv2.sq37.skv41.dqk16.dv16/causal_bottom_right/scale0.25/gauss:7/bhsd/single"
)
FULL = "fwd/fp32/b1.hq2.hkv2.sq9.skv11.dqk16.dv16/full/scale0.25/gauss:3/bhsd+gap3/single"
HALF = "fwd/bf16/b1.hq2.hkv1.sq16.skv64.dqk16.dv8/window(7,0)/scale0.25/walsh_probe:1/bshd/single"
LONG = "fwd/fp32/b1.hq1.hkv1.sq300.skv300.dqk16.dv16/full/scale0.25/gauss:7/bhsd/single"
ATTENTION = "python:attention_numpy:attention"


def last_column_off(q, k, v, problem):
    out, _ = attention_numpy.attention(q, k, v, problem)
    out[..., -1] *= np.float32(1.01)
    return out


def gate(candidate, *arguments, folder=None):
    paths = [str(HERE), str(folder or HERE.parent / "examples/python")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [RINGPROOF, "gate", "--candidate", candidate, "--no-shrink", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


class CheckTest(unittest.TestCase):
    def test_a_correct_callable_is_accepted_with_its_scope_and_says_it_was_not_isolated(self):
        verdict = ringproof.check(attention_numpy.attention, cases=[CASE, FULL, HALF])
        self.assertTrue(verdict, verdict)
        self.assertEqual((verdict.outcome, verdict.exit_code), ("accepted", 0))
        self.assertEqual(verdict.count_accepted, 3)
        self.assertEqual(len(verdict.scopes), 2)
        self.assertIn("no isolation", verdict.report())
        self.assertIn("fp32", verdict.scopes[0])

    def test_a_faulty_callable_is_rejected_with_the_worst_element_and_a_smaller_case(self):
        verdict = ringproof.check(last_column_off, cases=FULL)
        self.assertFalse(verdict)
        self.assertEqual((verdict.outcome, verdict.exit_code), ("rejected", 1))
        trouble = verdict.rejected[0]
        self.assertEqual(trouble.case, FULL)
        self.assertEqual(trouble.worst.index[3], 15)
        self.assertIn("column 15 only", trouble.cause)
        self.assertNotIn(trouble.smallest_case, ("", FULL))
        self.assertIn("bound of out", trouble.checks)
        self.assertEqual(
            trouble.rerun, f'ringproof.check(last_column_off, cases="{trouble.smallest_case}")'
        )
        again = eval(trouble.rerun)  # the line itself
        self.assertEqual(again.outcome, "rejected")
        for text in (repr(verdict), verdict._repr_html_()):
            for part in (FULL, "column 15 only", trouble.smallest_case, "no isolation"):
                self.assertIn(part, text)

    def test_what_a_callable_does_not_declare_is_not_asked(self):
        verdict = ringproof.check(last_column_off, cases=CASE)
        self.assertFalse(verdict)
        self.assertEqual(verdict.outcome, "inconclusive")
        self.assertIn("nothing was judged", verdict.report())

    def test_keywords_describe_the_callable(self):
        def attention(q, k, v, problem):
            return attention_numpy.attention(q, k, v, problem)[0]

        words = {"masks": "causal_bottom_right", "features": ["grouped_heads"]}
        self.assertTrue(ringproof.check(attention, cases=CASE, **words))
        with self.assertRaisesRegex(ringproof.BadInput, "masks knows full"):
            ringproof.check(attention, cases=CASE, masks="causal")
        with self.assertRaisesRegex(ringproof.BadInput, "names no dtypes"):
            ringproof.check(attention, cases=CASE, dtypes=())
        with self.assertRaisesRegex(ringproof.BadInput, "no field 'colour'"):
            ringproof.check(attention, cases=CASE, colour="red")

    def test_what_the_command_refuses_is_told_in_its_sentence(self):
        with self.assertRaisesRegex(ringproof.BadInput, "causal"):
            ringproof.check(last_column_off, cases=CASE.replace("causal_bottom_right", "causal"))
        with self.assertRaisesRegex(ringproof.BadInput, "fast, full, nightly"):
            ringproof.check(last_column_off, cases="slow")

    def test_an_exception_is_inconclusive_and_its_traceback_shown_once(self):
        def fail(q, k, v, problem):
            raise RuntimeError("no such luck")

        verdict = ringproof.check(fail, cases=[FULL, FULL.replace("gauss:3", "gauss:4")])
        self.assertEqual((verdict.outcome, verdict.exit_code), ("inconclusive", 3))
        self.assertIn("RuntimeError: no such luck", verdict.inconclusive[0].reason)
        self.assertEqual(verdict.report().count("Traceback (most recent call last)"), 1)

    def test_a_callable_that_writes_to_its_inputs_behind_numpys_back_is_no_acceptance(self):
        def write(q, k, v, problem):
            out = attention_numpy.attention(q, k, v, problem)[0]
            ctypes.c_float.from_address(q.ctypes.data).value = 1
            return out

        verdict = ringproof.check(write, cases=FULL)
        self.assertFalse(verdict)
        self.assertIn("wrote to its input q", verdict.report())

    def test_refusing_what_is_declared_counts_towards_exit_code_4(self):
        def refuse(q, k, v, problem):
            raise ringproof.Unsupported("not today")

        verdict = ringproof.check(refuse, cases=FULL)
        self.assertFalse(verdict)
        self.assertGreater(verdict.count_refused, 0)

    def test_a_candidate_of_a_name_runs_in_a_process_of_its_own(self):
        verdict = ringproof.check("flash_forward_fp32", cases=FULL)
        self.assertTrue(verdict, verdict)
        self.assertIn("process of its own", verdict.isolation)

    def test_many_checks_in_one_process_leave_nothing_behind(self):
        ringproof.check(attention_numpy.attention, cases=FULL)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            ringproof.check(attention_numpy.attention, cases=FULL)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class GateTest(unittest.TestCase):
    def candidate(self, body):
        """A module `mine` with `attention(q, k, v, problem)`, in a folder of its own."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        text = "import os, signal, time\nimport numpy as np\n\ndef attention(q, k, v, problem):\n"
        text += textwrap.indent(textwrap.dedent(body), "    ")
        (pathlib.Path(folder.name) / "mine.py").write_text(text)
        return folder.name

    def judge(self, body, *arguments):
        return gate("python:mine:attention", *arguments, folder=self.candidate(body))

    def test_a_module_of_ones_own_is_accepted(self):
        run = gate(ATTENTION, "--case", CASE, "--case", HALF)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("accepted", run.stdout)

    def test_a_crash_is_one_row_and_the_other_cases_still_run(self):
        body = """
            if problem.seqlen_q == 9:
                os.kill(os.getpid(), signal.SIGSEGV)
            return np.repeat(v.mean(axis=2, keepdims=True), problem.seqlen_q, axis=2)
        """
        probe = FULL.replace("gauss:3", "uniform_probe:3").replace("sq9", "sq8")
        run = self.judge(body, "--case", FULL, "--case", probe)
        self.assertEqual(run.returncode, 3, run.stdout + run.stderr)
        self.assertIn("SIGSEGV", run.stdout)
        with_rest = run.stdout + run.stderr
        self.assertRegex(run.stdout, r"python:mine:attention +fp32\S* .* 2 +1 ", with_rest)

    def test_a_callable_that_hangs_ends_at_its_limit(self):
        run = self.judge("time.sleep(1000)", "--case", FULL, "--time-limit", "1")
        self.assertEqual(run.returncode, 3, run.stdout + run.stderr)

    def test_bad_input_is_one_sentence_and_exit_code_2(self):
        for candidate, words in (
            ("python:no_such_module:attention", "no module 'no_such_module'"),
            ("python:json:nothing", "'nothing' of module 'json' does not exist"),
            ("python:json", "write python:module:callable"),
            ("mlx:nothing", "there is no adapter 'mlx:nothing'"),
        ):
            run = gate(candidate, "--case", FULL)
            self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
            self.assertIn(words, run.stderr)
            self.assertEqual(run.stderr.count("\n"), 1, run.stderr)

    def test_a_module_that_cannot_be_imported_shows_why(self):
        folder = self.candidate("return None")
        (pathlib.Path(folder) / "mine.py").write_text("import no_such_thing\n")
        run = gate("python:mine:attention", "--case", FULL, folder=folder)
        self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
        self.assertIn("no_such_thing", run.stderr)

    def test_a_python_without_the_package_is_named_with_the_mend(self):
        environment = os.environ | {"PYTHONPATH": "", "RINGPROOF_PYTHON": sys.executable}
        command = [RINGPROOF, "gate", "--candidate", "mlx:sdpa", "--case", FULL]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
        self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
        self.assertIn("install the package ringproof", run.stderr)

    def test_a_wrong_result_is_told_in_a_sentence(self):
        for body, words in (
            ("return v[:, :, :1]", "shape"),
            ("return np.zeros(problem.shape_out)", "float64, wanted float32"),
            ("return np.zeros(problem.shape_out[::-1], np.float32).T", "non-contiguous"),
        ):
            run = self.judge(body, "--case", FULL)
            self.assertEqual(run.returncode, 3, run.stdout + run.stderr)
            self.assertIn(words, run.stdout)

    def test_a_library_that_is_not_here_is_not_run(self):
        run = gate("flash_attn:flash_attn_func", "--case", FULL)
        self.assertIn("flash_attn is not installed here", run.stdout + run.stderr)
        self.assertNotIn("Traceback", run.stdout + run.stderr)

    def test_ctrl_c_keeps_what_was_finished_and_leaves_no_process(self):
        folder = self.candidate(
            """
            if problem.seqlen_q > 100:
                open(os.environ["MARK"], "w").write(str(os.getpid()))
                time.sleep(0.3)
            return np.zeros(problem.shape_out, np.float32)
            """
        )
        mark, out = pathlib.Path(folder) / "mark", pathlib.Path(folder) / "out"
        command = [RINGPROOF, "gate", "--candidate", "python:mine:attention", "--no-shrink"]
        command += ["--in-order", "--case", FULL, "--case", LONG, "--out", out]
        environment = os.environ | {"PYTHONPATH": f"{HERE}:{folder}", "MARK": str(mark)}
        run = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while run.poll() is None and not (mark.exists() and mark.read_text()):
            time.sleep(0.02)
        worker = int(mark.read_text())
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[0].decode()
        self.assertNotEqual(run.returncode, 0, said)
        records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        finished = [record["case"] for record in records if record["record"] == "case"]
        self.assertIn(FULL, finished, said)
        self.assertFalse(pathlib.Path(f"/proc/{worker}").exists(), said)


if __name__ == "__main__":
    unittest.main()
