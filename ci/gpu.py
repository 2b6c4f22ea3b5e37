"""The steps of gpu.sh, one after the other, each under its own limit of time, into one JSON record.

A step is a program that is asked, what its exit code means, and what it must have said to be taken
for accepted: an exit code alone proves nothing. What it prints is shown as it comes and kept in the
record. A missing tool or device is a step not run, with the reason; a step that is stopped by its
limit is inconclusive. The record's outcome is the worst of the steps (reports/gpu.schema.json).
Needs Python 3.9 and nothing else.
"""

import argparse
import collections
import ctypes
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

SECONDS_MAX = 530  # of nine minutes, the record's writing left out
LINES_KEPT = 400
ORDER = ["not run", "accepted", "inconclusive", "rejected"]
EXIT = {"not run": 0, "accepted": 0, "inconclusive": 3, "rejected": 1}
# Belongs to the machine's C library, or to its driver.
OF_THE_SYSTEM = ("libc.so", "libm.so", "libpthread", "libdl", "librt", "ld-linux", "libcuda.so")
# Small Cases for compute-sanitizer, which slows a kernel down a hundredfold and more.
SMALL = [
    "fwd/{dtype}/b1.hq2.hkv1.sq70.skv90.dqk64.dv64/causal_bottom_right/scale0.125/gauss:1/bhsd"
    "/single",
    "fwd/{dtype}/b1.hq1.hkv1.sq33.skv40.dqk40.dv24/window(9,3)/scale0.15/gauss:2/bshd+gap3/single",
]
# The anchor of performance.md, on random and on near-constant data: the data move the power draw.
TIMED = (
    "fwd/bf16/b1.hq64.hkv8.sq8192.skv8192.dqk128.dv128/{mask}/scale0.08838834764831845/{data}/bshd"
    "/single"
)


class Run:
    """What is shared by the steps: where things are, how much time is left, what was found."""

    def __init__(self, arguments):
        self.bin = arguments.build / "bin"
        self.seconds_max = arguments.seconds
        self.began = time.monotonic()
        self.steps = []

    def seconds_left(self):
        return self.seconds_max - (time.monotonic() - self.began)

    def note(self, name, outcome, sentence, seconds=0.0, lines=()):
        self.steps.append(
            {
                "name": name,
                "outcome": outcome,
                "sentence": sentence,
                "seconds": round(seconds, 2),
                "lines": list(lines),
            }
        )
        print(f"[{time.monotonic() - self.began:5.0f} s] {name}: {outcome}: {sentence}", flush=True)

    def step(self, name, command, seconds_max, outcomes, proof):
        """Runs `command`; `outcomes` maps its exit codes, any other is inconclusive.

        `proof(lines)` makes (outcome, sentence) of what a program has said whose exit code means
        accepted: whether it looked at anything.
        """
        limit = min(seconds_max, self.seconds_left())
        if limit < 5:
            return self.note(name, "inconclusive", "no time was left for it")
        print(f"[{time.monotonic() - self.began:5.0f} s] {name}: at most {limit:.0f} s", flush=True)
        began = time.monotonic()
        code, lines = stream(command, limit)
        took = time.monotonic() - began
        if code is None:
            return self.note(name, "inconclusive", f"stopped after {limit:.0f} s", took, lines)
        outcome, sentence = outcomes.get(code, "inconclusive"), f"exit code {code}"
        if not any(lines):
            outcome, sentence = "inconclusive", f"exit code {code} and not a word"
        elif outcome == "accepted":
            outcome, sentence = proof(lines)
        return self.note(name, outcome, sentence, took, lines)


def has_line(pattern, missing):
    """The proof that is a line; without it the step is inconclusive, as `missing` says."""

    def proof(lines):
        found = [line for line in lines if re.search(pattern, line)]
        return ("accepted", found[-1].strip()) if found else ("inconclusive", missing)

    return proof


def has_findings(good):
    """The proof of the project's programs, which print a JSON object for each thing they did.

    Accepted with a finding whose outcome is `good`; what was not run is named.
    """

    def proof(lines):
        found, missing = 0, []
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            outcome = said.get("outcome") if isinstance(said, dict) else None
            if outcome == good and "peer" not in said:
                found += 1
            elif outcome == "not run":
                missing.append(said.get("sentence", "it does not say why"))
        not_run = "; not run: " + ", ".join(dict.fromkeys(missing)) if missing else ""
        if found:
            return "accepted", f"{found} {'finding' if found == 1 else 'findings'}{not_run}"
        if missing:
            return "not run", missing[0]
        return "inconclusive", "it names nothing that it has looked at"

    return proof


def stream(command, seconds_max):
    """(exit code or None when stopped, last lines); what it prints is shown as it comes."""
    kept = collections.deque(maxlen=LINES_KEPT)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    stopped = threading.Event()

    def stop():
        stopped.set()
        os.killpg(process.pid, signal.SIGKILL)  # its children too

    timer = threading.Timer(seconds_max, stop)
    timer.start()
    try:
        for line in process.stdout:
            kept.append(line.rstrip("\n"))
            print("    " + kept[-1], flush=True)
        code = process.wait()
    finally:
        timer.cancel()
    return (None if stopped.is_set() else code), list(kept)


def output_of(command):
    """What a short command prints; None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_gpu():
    """What nvidia-smi says of GPU 0; None without it."""
    fields = [
        "name",
        "driver_version",
        "memory.total",
        "power.limit",
        "clocks.max.sm",
        "clocks.max.memory",
        "ecc.mode.current",
        "temperature.gpu",
        "clocks.sm",
    ]
    said = output_of(
        ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader", "-i", "0"]
    )
    if not said:
        return None
    return dict(zip(fields, (part.strip() for part in said.splitlines()[0].split(","))))


def cuda_candidates(run):
    """{name: dtypes} of the candidates on the device, as the command lists them."""
    found, name = {}, None
    for line in (output_of([str(run.bin / "ringproof"), "list", "candidates"]) or "").splitlines():
        if line and not line.startswith(" "):
            name = line.strip()
        elif (
            name
            and name.endswith(":cuda")
            and not name.startswith("ring:")
            and line.split()[:1] in (["fp64"], ["fp32"], ["fp16"], ["bf16"])
        ):
            found.setdefault(name, []).append(line.split()[0])
    return found


def conformance(run):
    """Device against host runtime. True where there is a device."""
    program = run.bin / "ringproof_gpu_conformance"
    name = "device against host runtime"
    run.step(name, [program], 90, {0: "accepted", 1: "rejected"}, has_findings("agrees"))
    return run.steps[-1]["outcome"] != "not run"


ACCEPTED_BY_GATE = r"^accepted: [1-9]\d* Cases? in "


def gate(run, candidates, tier, seconds):
    names = [part for name in candidates for part in ("--candidate", name)]
    run.step(
        f"gate, {tier} tier",
        [run.bin / "ringproof", "gate", "--require", "cuda", "--tier", tier, *names],
        seconds,
        {0: "accepted", 1: "rejected", 3: "inconclusive"},
        has_line(ACCEPTED_BY_GATE, "the gate does not say that it accepted a Case"),
    )


def sanitize(run, candidates):
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    names = [part for candidate in candidates for part in ("--candidate", candidate)]
    cases = [
        part
        for dtypes in candidates.values()
        for dtype in dtypes
        for line in SMALL
        for part in ("--case", line.format(dtype=dtype))
    ]
    gate_on_device = [run.bin / "ringproof", "gate", "--require", "cuda", *names, *unique(cases)]
    for check in ("memcheck", "racecheck", "synccheck", "initcheck"):
        name = f"compute-sanitizer {check}"
        if not os.access(tool, os.X_OK):
            run.note(name, "not run", "this machine has no compute-sanitizer")
            continue
        # racecheck sums up in a way of its own.
        clean = r"(ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards)"
        run.step(
            name,
            [tool, "--tool", check, "--error-exitcode", "99", *gate_on_device],
            60,
            {0: "accepted", 99: "rejected", 1: "rejected"},
            both(
                has_line(
                    ACCEPTED_BY_GATE, "the gate under it does not say that it accepted a Case"
                ),
                has_line(clean, "it does not say that it found nothing"),
            ),
        )


def both(first, second):
    """The proof that is two; the sentence is the second's."""

    def proof(lines):
        said = first(lines)
        return second(lines) if said[0] == "accepted" else said

    return proof


def unique(pairs):
    """The option pairs of a flat list, each once, in order."""
    seen = dict.fromkeys(zip(pairs[::2], pairs[1::2]))
    return [part for pair in seen for part in pair]


def benchmark(run):
    program = run.bin / "ringproof_cuda_bench"
    if not program.is_file():
        run.note("benchmarks", "not run", "this build has no ringproof_cuda_bench")
        return
    masks, data = ("causal_top_left", "full"), ("gauss:1", "uniform_probe:1")
    lines = [TIMED.format(mask=mask, data=recipe) for mask in masks for recipe in data]
    peers = ["--peers", f"python3 {pathlib.Path(__file__).with_name('gpu_sdpa.py')}"]
    outcomes = {0: "accepted", 1: "rejected"}
    run.step("benchmarks", [program, *peers, *lines], 150, outcomes, has_findings("accepted"))


# Small rings that send to themselves, to one peer, round, and to all.
OVER_NCCL = (
    "fwd/fp32/b1.hq4.hkv2.sq{n}.skv{n}.dqk64.dv64/causal_bottom_right/scale0.125/gauss:{seed}/bhsd"
    "/{schedule}{ranks}"
)
NCCL_WITH_SWITCH = (2, 30)


def nccl_version():
    """(major, minor) of the NCCL that the command would take; None without one."""
    try:
        library = ctypes.CDLL(os.environ.get("RINGPROOF_NCCL_LIBRARY", "libnccl.so.2"))
        version = ctypes.c_int()
        if library.ncclGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 10000, version.value // 100 % 100


def rings_over_nccl(run):
    """Every schedule over NCCL, 1, 2 and 4 processes on one GPU."""
    start = [sys.executable, pathlib.Path(__file__).with_name("gpu_ranks.py")]
    ways = [(1, False), (2, False), (4, False)]
    if (nccl_version() or (0, 0)) >= NCCL_WITH_SWITCH:
        ways += [(2, True), (4, True)]
    for ranks, switch in ways:
        schedules = ("contiguous", "striped", "zigzag", "head_split", "all_gather")
        lines = [
            OVER_NCCL.format(n=n, seed=seed, schedule=schedule, ranks=ranks)
            for seed, schedule in enumerate(schedules)
            for n in (97, 512)
        ]
        name = f"rings over NCCL, {ranks} {'process' if ranks == 1 else 'processes'}"
        run.step(
            name + (", by NCCL's switch" if switch else ""),
            [
                *start,
                *(["--switch"] if switch else []),
                ranks,
                run.bin / "ringproof",
                *["gate", "--transport", "nccl", "--candidate", "ring:double"],
                *["--candidate", "ring:flash_forward_fp32:cuda"],
                *["--deadline", "40"],
                *[part for line in lines for part in ("--case", line)],
            ],
            90,
            {0: "accepted", 1: "rejected"},
            accepted_over_nccl,
        )


def accepted_over_nccl(lines):
    for line in lines:
        found = re.match(r"not run: transport nccl: (.*)", line)
        if found:
            return "not run", found[1]
    missing = "the gate does not say that it accepted a Case"
    return has_line(ACCEPTED_BY_GATE, missing)(lines)


def profile(run):
    tool = shutil.which("ncu")
    if tool is None:
        run.note("profile", "not run", "this machine has no ncu")
        return
    case = SMALL[0].format(dtype="bf16").replace("sq70.skv90", "sq2048.skv2048")
    run.step(
        "profile",
        [
            tool,
            "--clock-control",
            "none",
            "--section",
            "SpeedOfLight",
            "--section",
            "Occupancy",
            "--kernel-name",
            "regex:flash_forward_mma",
            "--launch-count",
            "1",
            run.bin / "ringproof",
            "gate",
            "--candidate",
            "flash_forward_mma_bf16:cuda",
            "--case",
            case,
        ],
        60,
        {0: "accepted"},
        has_line(r"Duration|SM Frequency|Elapsed Cycles", "ncu profiled no kernel"),
    )


def write_record(run, arguments, gpu, outcome):
    version = (output_of([str(run.bin / "ringproof"), "--version"]) or "unknown").splitlines()
    record = {
        "record": "gpu",
        "schema": 1,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "build": version[0] if version else "unknown",
        "gpu": gpu,
        "outcome": outcome,
        "seconds": round(time.monotonic() - run.began, 1),
        "steps": run.steps,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


def carry(build, folder):
    """Installs the build into `folder`, with the libraries that a bare machine may lack."""
    subprocess.run(
        ["cmake", "--install", build, "--prefix", folder], check=True, stdout=subprocess.DEVNULL
    )
    (folder / "lib").mkdir(exist_ok=True)
    for program in sorted((folder / "bin").iterdir()):
        for line in (output_of(["ldd", str(program)]) or "").splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            if arrow and not name.startswith(OF_THE_SYSTEM):
                shutil.copy(rest.split(" ")[0], folder / "lib" / name)
    print(f"gpu: carried; on the other machine run {folder / 'share/ringproof/gpu.sh'}")


def main():
    here = pathlib.Path(__file__).resolve().parent
    # ci/ of a checkout, or share/ringproof/ of what --carry left.
    default = here.parent.parent if here.parent.name == "share" else here.parent / "build"
    parser = argparse.ArgumentParser(prog="gpu.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=default)
    parser.add_argument(
        "--out", type=pathlib.Path, help="the record (default: BUILD/gpu_record.json)"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS_MAX, help="stop after so many seconds"
    )
    parser.add_argument(
        "--carry", type=pathlib.Path, help="only install the build there, to be carried"
    )
    arguments = parser.parse_args()
    if arguments.carry:
        carry(arguments.build, arguments.carry)
        return 0
    own = str(arguments.build.resolve() / "lib")
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [own, os.environ.get("LD_LIBRARY_PATH")]))
    arguments.out = arguments.out or arguments.build / "gpu_record.json"
    run = Run(arguments)
    for program in ("ringproof", "ringproof_gpu_conformance"):
        if not (run.bin / program).is_file():
            print(
                f"gpu: there is no {run.bin / program}; build with -DRINGPROOF_CUDA=ON first",
                file=sys.stderr,
            )
            return 2
    gpu = describe_gpu()
    print(
        (
            f"GPU: {gpu['name']}, driver {gpu['driver_version']}"
            if gpu
            else "GPU: nvidia-smi says nothing"
        ),
        flush=True,
    )
    if conformance(run):
        candidates = cuda_candidates(run)
        if candidates:
            gate(run, candidates, "fast", 120)
            sanitize(run, candidates)
        else:
            run.note("gate", "inconclusive", "the command lists no candidate on the device")
        rings_over_nccl(run)
        benchmark(run)
        profile(run)
        if candidates:
            gate(run, candidates, "full", 240)
    outcome = max((step["outcome"] for step in run.steps), key=ORDER.index)
    write_record(run, arguments, gpu, outcome)
    missing = [step["name"] for step in run.steps if step["outcome"] == "not run"]
    if outcome == "not run":
        print(f"gpu: not run: {run.steps[0]['sentence']}; record in {arguments.out}")
    else:
        left_out = f"; not run: {', '.join(missing)}" if missing else ""
        print(f"gpu: {outcome}{left_out}; record in {arguments.out}")
    return EXIT[outcome]


if __name__ == "__main__":
    sys.exit(main())
