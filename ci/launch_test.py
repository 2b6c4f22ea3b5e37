"""Kernels from outside over ranks: each launcher, each way in, whatever a rank may do wrong.

Run by ctest with RINGPROOF_BIN and RINGPROOF_PYTHON set; needs the plug-ins of the build beside it.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest
import uuid

BIN = pathlib.Path(os.environ["RINGPROOF_BIN"])
ROOT = pathlib.Path(__file__).resolve().parent.parent
RANKS = BIN.parent / "plugins/libranks.so"
EXAMPLE = ROOT / "candidates/examples/ring/ring_mpi4py.py"
# O = V: with this mask a rank holds all that its rows see.
OWN_KEY = "fwd/fp32/b1.hq2.hkv2.sq{0}.skv{0}.dqk8.dv8/window(0,0)/scale0.5/gauss:1/bhsd/{1}"
OWN_KEY_IN_PYTHON = """
import os, ringproof

@ringproof.describe(masks="window", schedules=["contiguous", "striped", "zigzag"], contiguous=True)
def attention(q, k, v, problem):
    return v.copy()

@ringproof.describe(masks="window", schedules="zigzag", contiguous=True)
def short(q, k, v, problem):
    return v[:, :, 1:].copy() if problem.rank == 1 else v.copy()

@ringproof.describe(masks="window", contiguous=True)
def alone(q, k, v, problem):
    return v.copy()

@ringproof.describe(masks="window", schedules="zigzag", contiguous=True, name=os.environ["RANK"])
def two_minds(q, k, v, problem):
    return v.copy()
"""
COMMAND = """
import json, os, pathlib, shutil, sys
given, left = map(pathlib.Path, sys.argv[1:])
problem = json.loads((given / "problem.json").read_text())
if problem["ask"] == "describe":
    (left / "description.json").write_text(json.dumps({"dtypes": 4, "masks": 8, "schedules": 9}))
else:
    assert problem["rank"] == int(os.environ["RANK"])
    shutil.copy(given / "v.npy", left / "out.npy")
"""
# What PyTorch's launcher does, as far as a worker sees it.
TORCHRUN = """#!{python}
import os, socket, subprocess, sys, time
assert sys.argv[1] == "--standalone" and sys.argv[3] == "--no-python", sys.argv
ranks = int(sys.argv[2].partition("--nproc-per-node=")[2])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
place = {{"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}}
place |= {{"LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "stand-in"}}
started = [
    subprocess.Popen(sys.argv[4:], env=os.environ | place | {{"RANK": r, "LOCAL_RANK": r}})
    for r in map(str, range(ranks))
]
while any(one.poll() is None for one in started):
    if any(one.poll() for one in started):
        for one in started:
            one.terminate()
    time.sleep(0.02)
sys.exit(max(one.returncode for one in started) != 0)
"""


class Launched(unittest.TestCase):
    """Runs in a folder of its own, and leaves no process."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.mark = f"RINGPROOF_TEST_MARK={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.environment = os.environ | {
            name: value,
            "PYTHONPATH": str(ROOT / "candidates/python"),
            "RINGPROOF_TRICK_MARK": str(self.folder / "fault"),
        }

    def gate(self, candidate, *arguments):
        done = subprocess.run(
            [BIN / "ringproof", "gate", "--candidate", str(candidate), *map(str, arguments)],
            capture_output=True, text=True, timeout=600, cwd=self.folder, env=self.environment,
        )  # fmt: skip
        until = time.monotonic() + 20
        while self.processes() and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(self.processes(), [], done.stdout)
        return done

    def processes(self):
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes())
            except OSError:
                continue
        return found

    def expect_end(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stdout + done.stderr)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def put_torchrun_on_path(self):
        script = TORCHRUN.format(python=os.environ["RINGPROOF_PYTHON"])
        self.write("torchrun", script).chmod(0o755)
        self.environment["PATH"] = f"{self.folder}:{os.environ['PATH']}"


def cases(*topologies, rows=24):
    return [word for one in topologies for word in ("--case", OWN_KEY.format(rows, one))]


@unittest.skipIf(shutil.which("mpirun") is None, "no mpirun here")
class OverMpi(Launched):
    SHAPE = "fwd/{0}/b1.hq4.hkv2.sq{1}.skv{1}.dqk16.dv16"
    CASES = [
        SHAPE.format("fp32", 40) + "/full/scale0.25/gauss:1/bhsd/zigzag{0}",
        SHAPE.format("fp32", 40) + "/causal_bottom_right/scale0.25/gauss:2/bhsd/contiguous{0}",
        SHAPE.format("fp32", 64) + "/causal_top_left/scale1/sink:3/bhsd/zigzag{0}",
        SHAPE.format("fp32", 37) + "/window(5,0)/scale0.25/gauss:4/bshd/striped{0}",
        SHAPE.format("bf16", 64) + "/causal_bottom_right/scale0.25/walsh_probe:5/bhsd/zigzag{0}",
        SHAPE.format("fp32", 3) + "/full/scale0.25/gauss:6/bhsd/contiguous{0}",
    ]

    def judge(self, ranks, *edits):
        text = EXAMPLE.read_text()
        for before, after in edits:
            self.assertEqual(text.count(before), 1, before)
            text = text.replace(before, after)
        self.write("ring_mpi4py.py", text)
        self.write("cases.txt", "\n".join(self.CASES).format(ranks))
        arguments = ["--ranks", ranks, "--launcher", "mpirun", "--no-shrink", "--time-limit", "30"]
        return self.gate("python:ring_mpi4py:attention", "--cases", "cases.txt", *arguments)

    def test_the_example_is_accepted_on_two_and_four_ranks(self) -> None:
        for ranks in (2, 4):
            with self.subTest(ranks):
                done = self.judge(ranks)
                self.expect_end(done, 0, "5 of 5 Cases", "1 of 1 Cases")
                self.assertNotIn("1 process returned", done.stderr)

    def test_wrong_rings_are_rejected(self) -> None:
        for before, after in (
            ("owner = (RING.rank - step)", "owner = (RING.rank - step - 1)"),
            ("acc * rescale", "acc"),
            ("total * rescale", "total"),
            ("for step in range(RING.size)", "for step in range(RING.size - 1)"),
        ):
            with self.subTest(after):
                self.expect_end(self.judge(2, (before, after)), 1, "rejected")

    def test_a_rank_that_dies_is_named_and_the_other_cases_are_judged(self) -> None:
        dies = "import os, ringproof"
        here = "if problem.seqlen_q == 37 and RING.rank == 1: os._exit(9)\n    visible = problem"
        done = self.judge(4, ("import ringproof", dies), ("visible = problem", here))
        self.expect_end(done, 3, "rank 1 ended its process with exit code 9", "4 of 5 Cases")

    def test_a_command_that_starts_mpi_gets_a_job_for_every_call(self) -> None:
        command = f"{os.environ['RINGPROOF_PYTHON']} {EXAMPLE.with_name('gathered_command.py')}"
        line = self.SHAPE.format("fp32", 4).replace("hkv2", "hkv4") + "/full/scale0.25/exact:1"
        arguments = ["--launcher", "mpirun", "--no-shrink", "--case", line + "/bhsd/contiguous2"]
        done = self.gate(f"cmd:{command} {{in}} {{out}}", *arguments)
        self.expect_end(done, 0, "1 of 1 Cases")


class WaysIn(Launched):
    def test_a_plugin_is_told_its_place_by_every_launcher(self) -> None:
        self.put_torchrun_on_path()
        for launcher in ("spawn", "torchrun", "mpirun"):
            if shutil.which(launcher) is None and launcher == "mpirun":
                continue
            with self.subTest(launcher):
                asked = cases("single", "zigzag2", "striped3", "hybrid2xcontiguous2", rows=25)
                done = self.gate(RANKS, "--launcher", launcher, *asked)
                self.expect_end(done, 0, "4 of 4 Cases")

    def test_callables_and_commands_get_their_shards(self) -> None:
        self.write("own_key.py", OWN_KEY_IN_PYTHON)
        self.write("command.py", COMMAND)
        command = f"cmd:{os.environ['RINGPROOF_PYTHON']} command.py {{in}} {{out}}"
        for candidate in ("python:own_key:attention", command):
            with self.subTest(candidate):
                done = self.gate(candidate, "--ranks", 3, "--launcher", "spawn", *cases("zigzag3"))
                self.expect_end(done, 0, "1 of 1 Cases")

    def test_ranks_rewrite_a_tier_in_the_schedules_declared(self) -> None:
        self.write("own_key.py", OWN_KEY_IN_PYTHON)
        arguments = ["--ranks", 2, "--launcher", "spawn", "--out", "report", "--no-shrink"]
        done = self.gate("python:own_key:attention", *arguments)
        records = (self.folder / "report/results.jsonl").read_text()
        for schedule in ("contiguous2", "striped2", "zigzag2"):
            self.assertIn(f"/bhsd/{schedule}", records)
        self.assertNotIn("/head_split2", records)
        self.expect_end(done, 1, "window")  # other windows need keys of other ranks


class Faults(Launched):
    def run_fault(self, fault, *arguments, launcher="spawn"):
        self.write("fault", fault)
        asked = cases("zigzag3") + cases("zigzag3", rows=23) + cases("contiguous3")
        limits = ["--launcher", launcher, "--no-shrink", "--in-order"]
        return self.gate(RANKS, *limits, *asked, *arguments)

    def test_a_rank_that_fails_is_named_and_the_other_cases_are_judged(self) -> None:
        self.put_torchrun_on_path()
        for launcher in ("spawn", "torchrun"):
            for fault, words in {
                "crash 1": "rank 1 crashed with SIGSEGV",
                "exit 2": "rank 2 ended its process with exit code 9",
                "error 0": "rank 0 returned an error: the link is down",
                "refuse 1": "rank 1 refused a Case that others took",
            }.items():
                with self.subTest(fault, launcher=launcher):
                    done = self.run_fault(fault, launcher=launcher)
                    self.expect_end(done, 3, words, "2 of 3 Cases")

    def test_a_rank_that_hangs_ends_with_its_job(self) -> None:
        done = self.run_fault("hang 1", "--time-limit", "3")
        self.expect_end(done, 3, "rank 1 ran for more than 3 s", "2 of 3 Cases")

    def test_a_rank_that_is_wrong_is_rejected(self) -> None:
        self.expect_end(self.run_fault("wrong 2"), 1, "rejected", "--launcher spawn --candidate")

    def test_a_shard_of_another_shape_is_said(self) -> None:
        self.write("own_key.py", OWN_KEY_IN_PYTHON)
        done = self.gate("python:own_key:short", "--launcher", "spawn", *cases("zigzag2"))
        words = "rank 1 returned an error: out came back with shape (1, 2, 11, 8), wanted"
        self.expect_end(done, 3, words, "(1, 2, 12, 8)")


class BadInput(Launched):
    def expect_refused(self, words, candidate, *arguments):
        done = self.gate(candidate, *arguments)
        self.expect_end(done, 2, words)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_what_does_not_go_together_is_refused_in_one_sentence(self) -> None:
        self.write("own_key.py", OWN_KEY_IN_PYTHON)
        module, spawn = "python:own_key:", ("--launcher", "spawn")
        mine = module + "attention"
        one = cases("zigzag2")
        self.expect_refused("needs a --launcher", mine, "--ranks", 2, *one)
        self.expect_refused("knows spawn, mpirun and torchrun", mine, "--launcher", "srun", *one)
        self.expect_refused("--ranks says 3 and the Case", mine, "--ranks", 3, *spawn, *one)
        topology = ("--topology", "zigzag4")
        self.expect_refused("give one of the two", mine, "--ranks", 3, *spawn, *topology)
        self.expect_refused("leave it out", mine, "--transport", "mpi", *spawn, *one)
        self.expect_refused("judge them apart", mine, "--candidate", "ring:double", *spawn, *one)
        self.expect_refused("kernels of your own", "ring:double", *spawn, *one)
        self.expect_refused("declares no schedule of several", module + "alone", *spawn, *one)
        self.expect_refused("otherwise on rank 1", module + "two_minds", *spawn, *one)
        self.expect_refused("there is no module 'nowhere'", "python:nowhere:fn", *spawn, *one)

    def test_a_launcher_that_is_missing_is_refused(self) -> None:
        self.environment["PATH"] = str(self.folder)
        for launcher in ("mpirun", "torchrun"):
            words = f"there is no {launcher} on the path"
            self.expect_refused(words, RANKS, "--launcher", launcher, *cases("zigzag2"))


if __name__ == "__main__":
    unittest.main()
