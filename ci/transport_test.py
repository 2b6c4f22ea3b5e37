#!/usr/bin/env python3
"""`ringproof gate` over MPI: real mpirun processes, accepted, refused, killed and stopped.

A rank is found by the variables of its environment, and hit while it computes a long Case. Needs a
build with MPI; without one the command must say so.
"""
import os
import pathlib
import signal
import subprocess
import time
import unittest

RINGPROOF = pathlib.Path(os.environ["RINGPROOF_BIN"]) / "ringproof"
SMALL = "fwd/fp32/b1.hq4.hkv2.sq37.skv41.dqk16.dv8/causal_bottom_right/scale0.25/gauss:7/bhsd/"
LONG = "fwd/fp32/b1.hq8.hkv8.sq4000.skv4000.dqk64.dv64/full/scale0.125/gauss:7/bhsd/contiguous4"


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


def processor_seconds(process):
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def hit_a_rank(rank, number, *arguments):
    """Starts a long Case on four ranks and sends a signal to one. What the command said."""
    variables = environment()
    mark = f"RINGPROOF_TEST_MARK={variables['RINGPROOF_TEST_MARK']}"
    command = [RINGPROOF, "gate", "--candidate", "ring:double", "--case", LONG]
    started = subprocess.Popen(
        [*command, "--launcher", "mpirun", "--threads", "1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
    )
    ranks, until = [], time.monotonic() + 60
    while len(ranks) < 1 and time.monotonic() < until:
        time.sleep(0.1)
        ranks = processes_with(mark, f"OMPI_COMM_WORLD_RANK={rank}")
    # A rank starts within 0.2 s of processor time and needs seconds of it for its local steps.
    while processor_seconds(ranks[0]) < 0.5 and time.monotonic() < until:
        time.sleep(0.02)
    start = time.monotonic()
    os.kill(ranks[0], number)
    said, _ = started.communicate(timeout=120)
    return started.returncode, said, time.monotonic() - start, mark


def has_mpi():
    return (
        "built without MPI" not in gate("--case", SMALL + "zigzag2", "--launcher", "mpirun").stdout
    )


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

    def test_a_killed_rank_is_inconclusive_and_survivors_report(self):
        code, said, seconds, mark = hit_a_rank(2, signal.SIGKILL)
        self.assertEqual(code, 3, said)
        self.assertIn("inconclusive: the MPI job of 4 ranks ended before its verdict", said)
        for rank in (0, 1, 3):
            line = next(
                (l for l in said.split("\n") if l.startswith(f"ringproof: rank {rank} ")), ""
            )
            for word in ("step", "block", "rank"):
                self.assertIn(word, line, said)
        self.assertLess(seconds, 60)
        self.expect_nothing_left(mark)

    def test_a_stopped_rank_is_inconclusive_within_the_deadline(self):
        code, said, seconds, mark = hit_a_rank(1, signal.SIGSTOP, "--deadline", "4")
        self.assertEqual(code, 3, said)
        self.assertIn("within 4000 ms", said)
        self.assertLess(seconds, 100)
        self.expect_nothing_left(mark)


if __name__ == "__main__":
    unittest.main()
