#!/usr/bin/env python3
"""`ringproof gate` on its transports: simulated, and over MPI.

Over MPI with real processes, accepted, refused, killed, stopped and throwing.
No test depends on how fast anything is: a rank fails by itself, when all others certainly compute.
Needs a build with MPI; without one the command must say so.
"""
import functools
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
SMALL = "fwd/fp32/b1.hq4.hkv2.sq37.skv41.dqk16.dv8/causal_bottom_right/scale0.25/gauss:7/bhsd/"
RANK_FAULT = RINGPROOF.with_name("ringproof_rank_fault")


def environment():
    free = {name: value for name, value in os.environ.items() if not name.startswith("OMPI_")}
    return free | {"RINGPROOF_TEST_MARK": f"mark-{os.getpid()}-{time.monotonic_ns()}"}


def gate(*arguments):
    return subprocess.run(
        [RINGPROOF, "gate", "--candidate", "ring:double", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment(),
    )


def processes_with(*words):
    """Ids of processes whose environment holds all of these."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if all(word.encode() in variables for word in words):
            found.append(int(process.name))
    return found


def fail_a_rank(fault, rank, deadline):
    """Four ranks, of which one fails. What the command said, and what marks its processes."""
    variables = environment()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [RANK_FAULT, fault, str(rank), folder, str(deadline), "--launcher", "mpirun"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            env=variables,
        )
    mark = f"RINGPROOF_TEST_MARK={variables['RINGPROOF_TEST_MARK']}"
    return done.returncode, done.stdout, mark


@functools.cache
def has_mpi():
    said = gate("--case", SMALL + "zigzag2", "--launcher", "mpirun").stdout
    return "built without MPI" not in said


class Simulated(unittest.TestCase):
    def test_every_schedule_is_accepted_and_only_what_has_ranks_is_asked(self):
        topologies = ["single", "zigzag5", "head_split3", "all_gather4", "hybrid2xstriped4"]
        cases = [word for topology in topologies for word in ("--case", SMALL + topology)]
        command = [RINGPROOF, "gate", "--transport", "simulated", *cases]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("ring:flash_forward_fp32", ended.stdout)
        self.assertNotIn("\nflash_forward_fp32", ended.stdout)

    def test_a_rejection_says_how_to_see_it_again(self):
        hidden = "fwd/fp32/b1.hq1.hkv1.sq9.skv9.dqk4.dv4/causal_top_left/scale0.5/gauss:1/bhsd/"
        ended = gate(
            "--candidate",
            "naive_ring",
            "--case",
            hidden + "contiguous3",
            "--transport",
            "simulated",
        )
        self.assertEqual(ended.returncode, 1, ended.stdout)
        self.assertIn("rerun: ringproof gate --transport simulated --candidate naive", ended.stdout)

    def test_it_takes_no_launcher(self):
        ended = gate(
            "--case", SMALL + "zigzag2", "--transport", "simulated", "--launcher", "mpirun"
        )
        self.assertEqual(ended.returncode, 2)
        self.assertIn("leave --launcher out", ended.stderr)


class OverMpi(unittest.TestCase):
    def setUp(self):
        if not has_mpi():
            self.skipTest("built without MPI, as the command says")

    def expect_nothing_left(self, mark):
        until = time.monotonic() + 10
        while processes_with(mark) and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(processes_with(mark), [])

    def test_every_schedule_is_accepted_on_two_three_four_and_eight_ranks(self):
        for ranks in (2, 3, 4, 8):
            schedules = ["contiguous", "striped", "zigzag", "head_split", "all_gather"]
            topologies = [f"{schedule}{ranks}" for schedule in schedules]
            if ranks % 2 == 0:
                topologies.append(f"hybrid2xzigzag{ranks // 2}")
            cases = [word for topology in topologies for word in ("--case", SMALL + topology)]
            done = gate(*cases, "--launcher", "mpirun", "--require", "mpi")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(f"{len(topologies)} of {len(topologies)} Cases", done.stdout)

    def test_a_topology_of_more_ranks_than_the_job_is_bad_input(self):
        case = ["--case", SMALL + "single", "--topology", "zigzag8"]
        done = gate(*case, "--launcher", "mpirun", "--ranks", "4")
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn("needs 8 processes and this MPI job has 4", done.stderr)

    def test_mpi_without_a_job_is_bad_input(self):
        done = gate("--case", SMALL + "zigzag2", "--transport", "mpi")
        self.assertEqual(done.returncode, 2)
        self.assertIn("mpirun -n P", done.stderr)

    def test_a_missing_mpirun_is_not_run(self):
        command = [RINGPROOF, "gate", "--case", SMALL + "zigzag2", "--launcher", "mpirun"]
        variables = environment() | {"PATH": "/nowhere"}
        for require, code in ((), 0), (("--require", "mpi"), 3):
            done = subprocess.run(
                [*command, *require], capture_output=True, text=True, env=variables
            )
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn("not run: transport mpi: there is no mpirun", done.stdout)

    def expect_inconclusive(self, fault, rank, deadline):
        code, said, mark = fail_a_rank(fault, rank, deadline)
        self.assertEqual(code, 3, said)
        self.assertIn("inconclusive", said)
        self.expect_nothing_left(mark)
        return said

    def expect_reports(self, said, survivors):
        for rank in survivors:
            who, where = (
                rf"(?m)^ *(ringproof: )?rank {rank}[ ,]",
                r"block \d+ part \d+ of step \d+ ",
            )
            self.assertRegex(said, rf"{who}.*{where}.*(from|to) rank \d")

    def test_a_killed_rank_is_inconclusive_and_survivors_report(self):
        for rank, survivors in ((2, (0, 1, 3)), (0, (1, 2, 3))):
            said = self.expect_inconclusive("kill", rank, 600)
            self.assertIn("the MPI job of 4 ranks ended before its verdict", said)
            self.expect_reports(said, survivors)

    def test_a_stopped_rank_is_inconclusive_within_the_deadline(self):
        said = self.expect_inconclusive("stop", 1, 4)
        self.assertIn("within 4000 ms", said)
        self.expect_reports(said, (0, 2, 3))

    def test_a_rank_that_throws_is_inconclusive_and_survivors_report(self):
        said = self.expect_inconclusive("throw", 2, 600)
        self.assertIn("rank 2: thrown on purpose", said)
        self.expect_reports(said, (0, 1, 3))

    def test_a_judge_that_stops_between_cases_ends_those_that_wait_for_it(self):
        said = self.expect_inconclusive("idle", 0, 4)
        self.assertIn(
            "a message from rank 0, nor a sign of life, did not come within 4000 ms", said
        )

    def test_a_judge_that_takes_longer_than_the_deadline_is_waited_for(self):
        code, said, _ = fail_a_rank("busy", 0, 4)
        self.assertEqual(code, 0, said)


class Nccl(unittest.TestCase):
    def test_without_a_gpu_it_is_a_line_not_run_and_never_accepted(self):
        done = gate("--transport", "nccl")
        if "not run: transport nccl: " not in done.stdout:
            self.skipTest("there is a GPU here")
        self.assertEqual(done.returncode, 0)
        self.assertNotIn("accepted", done.stdout)
        done = gate("--transport", "nccl", "--require", "nccl")
        self.assertEqual(done.returncode, 3)
        self.assertIn("inconclusive: --require nccl: not here", done.stdout)

    def test_mpirun_is_no_launcher_of_it(self):
        done = gate("--transport", "nccl", "--launcher", "mpirun")
        self.assertEqual(done.returncode, 2)
        self.assertIn("start --transport nccl by torchrun, mpirun or srun", done.stderr)


if __name__ == "__main__":
    unittest.main()
