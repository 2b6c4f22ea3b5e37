"""Timings of one process of `ringproof bench`, from its JSON (Google Benchmark's schema)."""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess


class InputError(Exception):
    """Bad input: one sentence that names the input and the mend (exit code 2)."""


class RunError(Exception):
    """A process that measured nothing: its words say why."""


SUFFIXES = (
    "/min_time:",
    "/iterations:",
    "/repeats:",
    "/manual_time",
    "/process_time",
    "/real_time",
)
UNITS_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}


def metric_of(name: str) -> str:
    """Google Benchmark's name without the settings that it adds."""
    ends = [at for at in (name.find(suffix) for suffix in SUFFIXES) if at >= 0]
    return name[: min(ends)] if ends else name


def read_samples(file: pathlib.Path) -> dict[str, list[float]]:
    """Milliseconds of each sample, by metric. Raises InputError for another schema."""
    try:
        record = json.loads(file.read_text())
        samples: dict[str, list[float]] = {}
        for one in record["benchmarks"]:
            if one.get("run_type", "iteration") != "iteration" or one.get("error_occurred"):
                continue
            time_ms = float(one["real_time"]) * UNITS_MS[one["time_unit"]]
            samples.setdefault(metric_of(one["name"]), []).append(time_ms)
    except OSError as error:
        raise InputError(
            f"'{file}' cannot be read ({error.strerror}); give a file of `ringproof bench --json`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{file}' is not what `ringproof bench --json` writes; give one that is"
        ) from error
    if not samples:
        raise InputError(f"'{file}' holds no timing; give a file whose run measured something")
    return samples


def context_of(file: pathlib.Path) -> dict:
    """What a file says about the machine and the build that it was made by."""
    read_samples(file)
    return json.loads(file.read_text()).get("context", {})


FINGERPRINT = ("cpu", "cores", "threads", "os", "cuda_device")


def fingerprint_of(context: dict) -> dict[str, str]:
    """What must be alike for two times to be compared."""
    return {name: str(context.get(name, "unknown")) for name in FINGERPRINT}


def measure(command: list[str], json_file: pathlib.Path) -> dict[str, float]:
    """One process: each metric's median in ms. Raises RunError with its last words."""
    done = subprocess.run([*command, "--json", str(json_file)], capture_output=True, text=True)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise RunError(f"'{command[0]}' ended with {done.returncode}: {words}")
    return {metric: statistics.median(times) for metric, times in read_samples(json_file).items()}
