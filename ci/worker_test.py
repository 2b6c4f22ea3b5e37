"""Kernels from outside, as a user brings them: judged in processes of their own, every trick of
property_tests/mutants/plugins rejected or inconclusive, bad input refused in one sentence.

Run by ctest with RINGPROOF_BIN set; needs the plug-ins of the build beside it.
"""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ["RINGPROOF_BIN"])
ROOT = pathlib.Path(__file__).resolve().parent.parent
PLUGINS = BIN.parent / "plugins"
HONEST = PLUGINS / "libattention_c.so"
SHAPE = "fwd/fp32/b1.hq2.hkv1.sq9.skv13.dqk8.dv8"
SMALL = f"{SHAPE}/full/scale0.5/gauss:1/bhsd/single"
# Repeated shapes with other data, other scale, other mask; a strided and a page-ended memory.
CASES = f"""
{SMALL}
{SHAPE}/full/scale0.5/gauss:2/bhsd/single
{SHAPE}/full/scale1/gauss:1/bhsd/single
{SHAPE}/causal_bottom_right/scale0.5/gauss:3/bhsd/single
{SHAPE}/full/scale0.5/gauss:4/bshd+gap3/single
{SHAPE}/full/scale0.5/gauss:5/bhsd+page_end/single
fwd/fp32/b2.hq4.hkv2.sq33.skv40.dqk16.dv16/causal_top_left/scale0.25/gauss:6/bhsd/single
{SHAPE}/full/scale0.5/walsh_probe:7/bhsd/single
{SHAPE}/full/scale0.5/gauss:8/bhsd/single
{SHAPE}/window(3,2)/scale0.5/gauss:9/bhsd/single
{SHAPE}/full/scale0.5/gauss:10/bhsd/single
{SHAPE}/full/scale0.5/gauss:11/bhsd/single
{SHAPE}/full/scale0.5/gauss:12/bhsd/single
{SHAPE}/full/scale0.5/gauss:13/bhsd/single
"""

STATEFUL = "fwd/fp32/b1.hq2.hkv1.sq14.skv24.dqk16.dv16/"


def is_running(pid):
    status = pathlib.Path(f"/proc/{pid}/stat")  # nobody may have taken note of its end
    return status.exists() and ") Z " not in status.read_text()


def gate(*arguments, stdin="", **more):
    return subprocess.run(
        [BIN / "ringproof", "gate", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=600, **more,
    )  # fmt: skip


def judge(plugin, *arguments, **more):
    return gate(
        "--candidate", plugin, "--cases", "-", "--no-shrink", *arguments, stdin=CASES, **more
    )


class Honesty(unittest.TestCase):
    def test_the_kernel_that_tricks_are_played_with_is_accepted(self) -> None:
        done = judge(HONEST)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("accepted (reference contract)", done.stdout)
        self.assertIn("14 of 14 Cases", done.stdout)
        self.assertNotIn("not run: transport", done.stdout)  # which it cannot take

    def test_no_trick_is_accepted(self) -> None:
        lines = (ROOT / "property_tests/mutants/plugins/list.txt").read_text().splitlines()
        tricks = [line.split(" | ") for line in lines if not line.startswith("#")]
        self.assertGreater(len(tricks), 30)
        with tempfile.TemporaryDirectory() as folder:
            for trick, code, words in tricks:
                environment = os.environ | {"RINGPROOF_TRICK_MARK": f"{folder}/{trick}"}
                limits = ("--time-limit", "2", "--memory-limit", "400")
                done = judge(PLUGINS / f"libtrick_{trick}.so", *limits, env=environment)
                with self.subTest(trick):
                    self.assertEqual(done.returncode, int(code), done.stdout + done.stderr)
                    self.assertIn(words, done.stdout + done.stderr)

    def test_what_a_kernel_keeps_from_an_earlier_call_shows_in_the_fast_tier(self) -> None:
        tier = (ROOT / "ci/cases/fast.txt").read_text().splitlines()
        asked = [line for line in tier if line.startswith(STATEFUL)]
        self.assertGreater(len(asked), 10)
        names = (ROOT / "property_tests/mutants/plugins/state.txt").read_text().splitlines()
        for name in ["none", *(name for name in names if not name.startswith("#"))]:
            with self.subTest(name):
                plugin = PLUGINS / f"libstate_{name}.so"
                options = ("--candidate", plugin, "--cases", "-", "--no-shrink")
                done = gate(*options, stdin="\n".join(asked))
                wanted = 0 if name == "none" else 1
                self.assertEqual(done.returncode, wanted, done.stdout + done.stderr)

    def test_kernels_that_keep_threads_and_memory_are_told_apart(self) -> None:
        tier = (ROOT / "ci/cases/fast.txt").read_text().splitlines()
        dims = "dv128/", "dv72/", "dv19/"  # more than a tile, and no whole vector
        asked = [x for x in tier if x.startswith("fwd/fp32/") and any(d in x for d in dims)]
        asked = [x for x in asked if "/single" in x and "huge" not in x]
        self.assertGreater(len(asked), 4)
        for name in ("none", "one_tile_cleared", "scale_of_thread", "whole_vectors"):
            with self.subTest(name):
                plugin = PLUGINS / f"libthreads_{name}.so"
                options = ("--candidate", plugin, "--cases", "-", "--no-shrink")
                done = gate(*options, stdin="\n".join(asked))
                wanted = 0 if name == "none" else 1
                self.assertEqual(done.returncode, wanted, done.stdout[-2000:] + done.stderr[-500:])
                self.assertIn("its backward is not run", done.stdout)

    def test_a_process_that_leaves_its_group_is_ended_too(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            note = pathlib.Path(folder) / "pid"
            script = f"if test -e {{in}}/q.npy; then setsid sh -c 'echo $$ > {note}; sleep 986' & "
            script += f"until test -s {note}; do sleep 0.01; done; fi # {{out}}"
            line = SMALL.replace("hkv1", "hkv2")
            gate("--candidate", f"cmd:{script}", "--case", line, "--no-shrink")
            self.assertFalse(is_running(int(note.read_text())))

    def test_refusals_count_against_what_is_allowed(self) -> None:
        plugin = PLUGINS / "libtrick_refuses_what_it_declared.so"
        done = judge(plugin)
        self.assertIn("13 of 14 Cases", done.stdout)
        self.assertEqual(judge(plugin, "--allow-unsupported", "2").returncode, 0)

    def test_a_refusal_of_what_a_property_asks_is_a_refusal(self) -> None:
        plugin = PLUGINS / "libtrick_refuses_windows.so"
        line = SMALL.replace("/full/", "/causal_bottom_right/").replace("sq9.skv13", "sq40.skv40")
        done = gate("--candidate", plugin, "--case", line)
        self.assertEqual(done.returncode, 4, done.stdout + done.stderr)
        self.assertIn("properties refused: ", done.stdout)
        done = gate("--candidate", plugin, "--case", line, "--allow-unsupported", "9")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class BadInput(unittest.TestCase):
    def expect_refused(self, candidate, *words):
        done = gate("--candidate", candidate, "--case", SMALL)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_a_plugin_that_is_none_is_refused_in_one_sentence(self) -> None:
        self.expect_refused("./no_such_file.so", "./no_such_file.so", "no such file")
        self.expect_refused(
            str(ROOT / "README.md"), "README.md", "cannot be loaded as a shared library"
        )

    def test_a_plugin_that_cannot_serve_is_refused_with_the_field_named(self) -> None:
        for bad, words in {
            "no_describe": "it exports no rp_describe",
            "no_forward": "it exports no rp_forward",
            "other_abi": "built for abi version 7 and this command speaks version 1",
            "empty_description": "dtypes is empty",
            "no_dtypes": "dtypes is empty",
            "no_masks": "masks is empty",
            "unknown_feature": "features has bit 30",
            "claims_backward": "there is no rp_backward",
            "describe_fails": "rp_describe returned 2",
            "bad_arithmetic": "accumulator_dtype must be",
        }.items():
            with self.subTest(bad):
                plugin = PLUGINS / f"libbad_{bad}.so"
                self.expect_refused(str(plugin), str(plugin), words)

    def test_what_is_nearly_right_on_the_command_line_is_told_the_mend(self) -> None:
        self.expect_refused("libmine.so", "a plug-in is named by its path: ./libmine.so")
        done = gate("--candidate", HONEST, "--case", SMALL, "--time-limit", "-1")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("--time-limit: must be a number above 0, not '-1'", done.stderr)

    def test_a_report_folder_that_cannot_be_made_is_refused(self) -> None:
        done = gate("--candidate", HONEST, "--case", SMALL, "--out", "/proc/nowhere")
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn("/proc/nowhere", done.stderr)

    def test_a_worker_that_nobody_asked_for_says_who_starts_it(self) -> None:
        command = [BIN / "ringproof", "worker", HONEST]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("started by ringproof gate", done.stderr)


class Device(unittest.TestCase):
    """Plug-ins that want device memory, on a stand-in for the CUDA driver."""

    DRIVER = os.environ | {"LD_LIBRARY_PATH": str(BIN.parent / "stand_in")}

    def judge(self, trick, **more):
        plugin = PLUGINS / f"libdevice_{trick}.so"
        return judge(plugin, "--require", "cuda", env=self.DRIVER | more)

    def judge_in(self, memory, trick):
        line = SMALL.replace("/bhsd/", f"/bhsd+{memory}/")
        plugin = PLUGINS / f"libdevice_{trick}.so"
        return gate("--candidate", plugin, "--case", line, "--no-shrink", env=self.DRIVER)

    def test_a_kernel_on_its_stream_is_accepted(self) -> None:
        done = self.judge("none")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("14 of 14 Cases", done.stdout)
        done = self.judge_in("huge_seq", "none")
        self.assertIn("memory bhsd+huge_seq on a device", done.stdout)

    def test_what_a_kernel_does_beside_its_stream_and_tensors_is_seen(self) -> None:
        for trick, code, words in (
            ("default_stream", 1, "got -nan"),
            ("other_stream", 1, "never written"),
            ("late", 1, "out was written after its stream had finished"),
            ("writes_input", 1, "memory of the input q was changed on the device"),
            ("writes_behind", 1, "memory outside out was written"),
        ):
            with self.subTest(trick):
                done = self.judge(trick)
                self.assertEqual(done.returncode, code, done.stdout + done.stderr)
                self.assertIn(words, done.stdout)
                self.assertIn(": 0 of 17 Cases", done.stdout)

    def test_an_access_to_foreign_memory_costs_its_case_alone(self) -> None:
        done = self.judge("illegal")
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertIn("cuStreamSynchronize failed: an illegal memory access", done.stdout)
        self.assertEqual(done.stdout.count("inconclusive on"), 1, done.stdout)

    def test_a_write_behind_what_ends_at_a_page_is_seen(self) -> None:
        done = self.judge_in("page_end", "writes_behind")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("device memory behind the end of out was written", done.stdout)

    def test_without_a_device_it_is_not_run(self) -> None:
        done = self.judge("none", RINGPROOF_STAND_IN_NO_DEVICE="1")
        self.assertEqual(done.returncode, 3)
        self.assertIn("there is no CUDA device (no CUDA-capable device is detected)", done.stdout)


class Command(unittest.TestCase):
    def run_command(self, command, folder=ROOT / "candidates/examples/command", case=SMALL):
        return gate("--candidate", f"cmd:{command} {{in}} {{out}}", "--case", case, cwd=folder)

    def test_the_example_is_accepted(self) -> None:
        python = os.environ["RINGPROOF_PYTHON"]
        causal = SMALL.replace("/full/", "/causal_top_left/")
        done = self.run_command(f"{python} attention.py", case=causal)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("note: cmd:", done.stdout)

    def test_what_a_command_does_wrong_is_said(self) -> None:
        ungrouped = SMALL.replace("hkv1", "hkv2")
        for command, code, words in (
            ("true", 3, "left no out.npy"),
            ("true", 3, "rerun: ringproof gate --candidate 'cmd:true {in} {out}' --case"),
            ("false", 3, "the command exited with code 1"),
            ("exit 77 #", 3, "nothing judged"),
            ("kill -9 $$ #", 3, "ended by signal 9"),
            ("./nowhere", 2, "{out}: the shell cannot run it"),
            ("cp /dev/null {out}/out.npy #", 3, "is no .npy file"),
            (
                "cp {in}/k.npy {out}/out.npy #",
                3,
                "out.npy has shape (1, 2, 13, 8), wanted (1, 2, 9, 8)",
            ),
        ):
            with self.subTest(command):
                done = self.run_command(command, case=ungrouped)
                self.assertEqual(done.returncode, code, done.stdout + done.stderr)
                self.assertIn(words, done.stdout + done.stderr)
        done = gate("--candidate", "cmd:./run", "--case", SMALL)
        self.assertEqual(done.returncode, 2)
        self.assertIn("must name {in} and {out}", done.stderr)

    def test_a_command_that_hangs_leaves_no_process(self) -> None:
        done = gate(
            "--candidate",
            "cmd:if test -e {in}/q.npy; then sleep 987; fi # {out}",
            "--case",
            SMALL,
            "--time-limit",
            "1",
        )
        self.assertNotEqual(done.returncode, 0)
        running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        self.assertNotIn("sleep 987", running)


class Interrupt(unittest.TestCase):
    def test_one_ctrl_c_keeps_what_is_finished_and_leaves_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            python, example = os.environ["RINGPROOF_PYTHON"], ROOT / "candidates/examples/command"
            call = "if grep -q 'softmax_scale\": *1' {in}/problem.json; then "
            call += f"echo $$ > {folder}/pid; exec sleep 985; fi; "
            call += f"{python} {example}/attention.py {{in}} {{out}}"
            first = SMALL.replace("hkv1", "hkv2")
            second = first.replace("scale0.5", "scale1")
            command = [BIN / "ringproof", "gate", "--candidate", f"cmd:{call}", "--in-order"]
            command += ["--case", first, "--case", second, "--out", folder]
            environment = os.environ | {"TMPDIR": folder}
            run = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            deadline = time.monotonic() + 120
            pid = pathlib.Path(folder) / "pid"
            while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertIsNone(run.poll())
            run.send_signal(signal.SIGINT)
            said, _ = run.communicate(timeout=60)
            self.assertEqual(run.returncode, 3, said)
            self.assertIn("what was finished is kept", said)
            self.assertFalse(is_running(int(pid.read_text())))
            self.assertEqual([one for one in os.listdir(folder) if "ringproof" in one], [])
            lines = (pathlib.Path(folder) / "results.jsonl").read_text().splitlines()
            records = [json.loads(line) for line in lines]
            self.assertTrue(records[-1]["interrupted"])
            done = [record["case"] for record in records if record["record"] == "case"]
            self.assertEqual(done, [first])


if __name__ == "__main__":
    unittest.main()
