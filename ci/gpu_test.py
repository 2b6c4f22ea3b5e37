"""gpu.sh: on this machine as it is, and on builds made of scripts in place of its programs."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ["RINGPROOF_BIN"])
SCHEMA = json.loads((HERE.parent / "reports" / "gpu.schema.json").read_text())
AGREES = 'echo \'{"check": "ldmatrix", "outcome": "agrees", "sentence": "equal", "facts": {}}\''
TIMED = 'echo \'{"kernel": "k", "outcome": "accepted", "event_ms": [1.0]}\''
NOT_RUN = """echo '{"outcome": "not run", "sentence": "no CUDA device (set by a test)"}'"""
CLEAN = "echo ========= ERROR SUMMARY: 0 errors"
LIST = """if [ $1 = list ]; then
  printf 'k\\n  bf16 x\\nk:cuda\\n  masks full\\n  bf16 reference\\n'; exit 0
fi
"""


class Build:
    """A build folder whose programs are the given shell texts; tools of the machine are hidden."""

    def __init__(self, folder, **programs):
        self.folder = pathlib.Path(folder)
        (self.folder / "bin").mkdir()
        (self.folder / "tools").mkdir()
        for tool in ("bash", "env", "dirname", "sleep", "sh"):
            found = subprocess.run(["which", tool], capture_output=True, text=True, check=False)
            if found.returncode == 0:
                (self.folder / "tools" / tool).symlink_to(found.stdout.strip())
        (self.folder / "tools" / "python3").symlink_to(sys.executable)
        for name, text in programs.items():
            place = "tools" if name in ("compute-sanitizer", "ncu") else "bin"
            self.write(self.folder / place / name, text)

    def write(self, path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, *arguments):
        """(exit code, last line printed, record or None)."""
        record = self.folder / "record.json"
        done = subprocess.run(
            [
                "bash",
                str(HERE / "gpu.sh"),
                "--build",
                str(self.folder),
                "--out",
                str(record),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "PATH": str(self.folder / "tools")},
        )
        lines = (done.stdout + done.stderr).strip().splitlines()
        return done.returncode, lines[-1] if lines else "", read_record(record)


def read_record(path):
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    jsonschema.validate(record, SCHEMA)
    return record


def outcomes(record):
    return {step["name"]: step["outcome"] for step in record["steps"]}


class GpuScript(unittest.TestCase):
    def build(self, **programs):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        standard = {
            "ringproof": LIST + "echo accepted: 12 Cases in 3.4 s",
            "ringproof_gpu_conformance": AGREES,
            "ringproof_cuda_bench": TIMED,
        }
        return Build(folder.name, **{**standard, **programs})

    def test_without_a_gpu_it_ends_with_one_clear_line_and_the_record_says_not_run(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "record.json"
            done = subprocess.run(
                ["bash", str(HERE / "gpu.sh"), "--build", str(BIN.parent), "--out", str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            record = read_record(path)
        lines = done.stdout.strip().splitlines()
        last = lines[-1]
        if record["outcome"] != "not run":
            self.assertIsNotNone(record["gpu"], "something ran, so there is a GPU")
            self.skipTest("this machine has a GPU: the script itself is the test")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(last.startswith("gpu: not run: no CUDA device"), last)
        self.assertNotIn("accepted", done.stdout)
        self.assertEqual([step["outcome"] for step in record["steps"]], ["not run"])

    def test_a_carried_build_runs_from_where_it_was_put(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder) / "carried"
            subprocess.run(
                ["bash", str(HERE / "gpu.sh"), "--build", str(BIN.parent), "--carry", str(place)],
                check=True,
                capture_output=True,
                timeout=300,
            )
            self.assertTrue(any((place / "lib").glob("libfmt*")), "what a bare machine lacks")
            self.assertFalse(any((place / "lib").glob("libc.so*")))
            listed = subprocess.run(
                [str(place / "bin" / "ringproof"), "list", "kernels"],
                text=True,
                capture_output=True,
                check=True,
            )
            if "no CUDA device" not in listed.stdout:
                self.skipTest("this machine has a GPU: the script itself is the test")
            done = subprocess.run(
                [str(place / "share" / "ringproof" / "gpu.sh")],
                text=True,
                capture_output=True,
                check=False,
                timeout=300,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(read_record(place / "gpu_record.json")["outcome"], "not run")

    def test_every_step_runs_and_a_missing_tool_is_said(self):
        code, last, record = self.build().run()
        self.assertEqual((code, record["outcome"]), (0, "accepted"), last)
        found = outcomes(record)
        for name in (
            "device against host runtime",
            "gate, fast tier",
            "benchmarks",
            "gate, full tier",
        ):
            self.assertEqual(found[name], "accepted", name)
        for name in ("compute-sanitizer memcheck", "compute-sanitizer initcheck", "profile"):
            self.assertEqual(found[name], "not run", name)
        self.assertIn("not run: compute-sanitizer memcheck", last)
        self.assertIsNone(record["gpu"])

    def test_what_did_not_run_is_not_accepted_though_its_exit_code_is_0(self):
        code, last, record = self.build(ringproof_gpu_conformance=NOT_RUN).run()
        self.assertEqual((code, record["outcome"]), (0, "not run"), last)
        self.assertEqual([step["outcome"] for step in record["steps"]], ["not run"])
        self.assertIn("not run: no CUDA device (set by a test)", last)
        code, last, record = self.build(ringproof_cuda_bench=NOT_RUN).run()
        self.assertEqual(outcomes(record)["benchmarks"], "not run", last)
        self.assertIn("benchmarks", last)

    def test_an_exit_code_of_0_without_the_proof_of_work_is_inconclusive(self):
        peer = """echo '{"kernel": "cuDNN", "peer": true, "outcome": "accepted"}'"""
        for name, changed in (
            ("device against host runtime", {"ringproof_gpu_conformance": "echo {}"}),
            ("gate, fast tier", {"ringproof": LIST + "echo accepted: 0 Cases in 0.1 s"}),
            ("gate", {"ringproof": "echo accepted: 12 Cases in 3.4 s"}),
            ("benchmarks", {"ringproof_cuda_bench": peer}),
            ("compute-sanitizer memcheck", {"compute-sanitizer": 'shift 4; "$@"'}),
            ("compute-sanitizer memcheck", {"compute-sanitizer": CLEAN}),
            ("profile", {"ncu": "echo ==WARNING== No kernels were profiled."}),
        ):
            code, last, record = self.build(**changed).run()
            self.assertEqual((code, outcomes(record)[name]), (3, "inconclusive"), (changed, last))

    def test_a_sanitizer_that_finds_nothing_under_an_accepting_gate_is_accepted(self):
        found = f'shift 4; "$@"; {CLEAN}'
        code, last, record = self.build(**{"compute-sanitizer": found}).run()
        self.assertEqual((code, outcomes(record)["compute-sanitizer memcheck"]), (0, "accepted"))

    def test_rings_over_nccl_are_processes_that_share_the_gpu_under_names_of_their_own(self):
        note = (
            '[ -n "$RANK" ] && echo $RANK/$WORLD_SIZE/$LOCAL_RANK $NCCL_HOSTID $NCCL_SOCKET_IFNAME'
            ' >> "$(dirname "$0")/../ranks"\n'
        )
        build = self.build(ringproof=LIST + note + "echo accepted: 12 Cases in 3.4 s")
        code, last, record = build.run()
        self.assertEqual(code, 0, last)
        for ranks in ("1 process", "2 processes", "4 processes"):
            self.assertEqual(outcomes(record)[f"rings over NCCL, {ranks}"], "accepted")
        started = set((build.folder / "ranks").read_text().splitlines())
        wanted = {f"{rank}/{count}/0 rank{rank} lo" for count in (1, 2, 4) for rank in range(count)}
        self.assertEqual(started, wanted)

    def test_one_rank_of_several_that_fails_is_not_accepted(self):
        rest = "echo accepted: 12 Cases in 3.4 s"
        for text, want in (
            ('[ "$RANK" = 1 ] && exit 3', "inconclusive"),
            ('[ "$RANK" = 1 ] && kill -SEGV $$', "inconclusive"),
            ('[ "$RANK" = 0 ] && echo no && exit 1', "rejected"),
        ):
            code, last, record = self.build(ringproof=f"{LIST}{text}\n{rest}").run()
            self.assertEqual(outcomes(record)["rings over NCCL, 2 processes"], want, last)

    def test_rings_over_nccl_are_not_run_where_nccl_is_missing(self):
        text = '[ -n "$RANK" ] && echo "not run: transport nccl: no NCCL library" && exit 0\n'
        code, last, record = self.build(
            ringproof=LIST + text + "echo accepted: 12 Cases in 3.4 s"
        ).run()
        self.assertEqual((code, record["outcome"]), (0, "accepted"), last)
        self.assertEqual(outcomes(record)["rings over NCCL, 4 processes"], "not run")
        self.assertIn("not run: ", last)

    def test_a_rejection_anywhere_is_the_outcome(self):
        for changed in (
            {"ringproof": LIST + "echo no; exit 1"},
            {"ringproof_gpu_conformance": AGREES + "; exit 1"},
            {"ringproof_cuda_bench": "echo no; exit 1"},
        ):
            code, last, record = self.build(**changed).run()
            self.assertEqual((code, record["outcome"]), (1, "rejected"), last)

    def test_a_crash_silence_or_an_unknown_exit_code_is_inconclusive(self):
        for text in ("echo x; kill -SEGV $$", "exit 0", "echo x; exit 77"):
            code, last, record = self.build(ringproof_cuda_bench=text).run()
            self.assertEqual((code, outcomes(record)["benchmarks"]), (3, "inconclusive"), last)

    def test_a_hanging_step_is_stopped_with_its_children_and_leaves_a_record(self):
        began = time.monotonic()
        code, last, record = self.build(ringproof_cuda_bench="echo begun; sleep 300 & wait").run(
            "--seconds", "8"
        )
        self.assertLess(time.monotonic() - began, 40)
        self.assertEqual((code, outcomes(record)["benchmarks"]), (3, "inconclusive"), last)
        self.assertEqual(outcomes(record)["gate, full tier"], "inconclusive")

    def test_a_build_without_the_programs_is_named(self):
        build = self.build()
        (build.folder / "bin" / "ringproof_gpu_conformance").unlink()
        code, last, record = build.run()
        self.assertEqual((code, record), (2, None))
        self.assertIn("ringproof_gpu_conformance", last)


if __name__ == "__main__":
    unittest.main()
