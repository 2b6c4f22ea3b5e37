#!/usr/bin/env python3
"""Times the ring beside the double reference: `ci/ring_bench.py [--build DIR] [--rounds N]`.

n = 4096, d = 128, one head, 4 ranks, double local step, on threads and over MPI, against the plain
double reference in one process on the same cores (ringproof_ring_bench, built on demand). Every
round runs all in turn, so that a machine's moods meet all; the ratio is the median over rounds.
Exit codes: 0 both ratios within their limits, 1 one is not, 2 it cannot run.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

LIMITS = {"threads": 1.15, "mpi": 1.3}
RANKS = 4


def seconds_of(program, mode):
    command = [program, mode]
    if mode == "mpi":
        command = ["mpirun", "-n", str(RANKS), *command]
    settings = {
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    done = subprocess.run(
        command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    program = arguments.build / "bin" / "ringproof_ring_bench"
    build = ["cmake", "--build", arguments.build, "--target", "ringproof_ring_bench"]
    if subprocess.run(build, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        print(f"ring_bench: {program} cannot be built", file=sys.stderr)
        return 2
    modes = ["threads"] + (["mpi"] if shutil.which("mpirun") else [])
    ratios = {mode: [] for mode in modes}
    for count in range(arguments.rounds):
        of_reference = seconds_of(program, "reference")
        words = [f"reference {of_reference:.2f} s"]
        for mode in modes:
            seconds = seconds_of(program, mode)
            ratios[mode].append(seconds / of_reference)
            words.append(f"{mode} {seconds:.2f} s ({ratios[mode][-1]:.2f}x)")
        print(f"round {count + 1}: " + ", ".join(words), flush=True)
    medians = {mode: statistics.median(of_mode) for mode, of_mode in ratios.items()}
    for mode, ratio in medians.items():
        said = "within" if ratio <= LIMITS[mode] else "beyond"
        print(f"ring over {RANKS} ranks, {mode}: {ratio:.2f}x, {said} {LIMITS[mode]}x")
    if "mpi" not in modes:
        print("ring over MPI: not run: there is no mpirun on the path")
    return 0 if all(ratio <= LIMITS[mode] for mode, ratio in medians.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
