"""Runs the ringproof command as a user does: verdicts, exit codes, and plain refusals of bad input.

RINGPROOF_BIN names the folder of the command.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

RINGPROOF = pathlib.Path(os.environ.get("RINGPROOF_BIN", "build/bin")) / "ringproof"
SHAPE = "b1.hq2.hkv1.sq20.skv30.dqk16.dv16"
SMALL = f"fwd/fp32/{SHAPE}/causal_bottom_right/scale0.25/gauss:7/bhsd/single"
RING = SMALL.replace("/single", "/zigzag3")
BF16 = SMALL.replace("/fp32/", "/bf16/")
ROOT = pathlib.Path(__file__).resolve().parent.parent
REGRESSIONS = {
    line
    for line in (ROOT / "property_tests/regressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


def command(
    *arguments: str, stdin: str | None = None, data: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RINGPROOF_DATA": data} if data else None
    return subprocess.run(
        [str(RINGPROOF), *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=900,
        env=environment,
    )


def gate(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return command("gate", *arguments, stdin=stdin)


class TestVerdicts(unittest.TestCase):
    def test_correct_candidates_are_accepted(self) -> None:
        done = gate("--case", SMALL, "--case", RING)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for name in ("flash_forward_fp32", "ring:double", "ring:flash_forward_fp32"):
            self.assertIn(f"{name}: accepted (reference contract)", done.stdout)

    def test_the_fast_tier_accepts_every_built_in_candidate(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            done = gate("--out", folder)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            judged = {record["candidate"] for record in records(folder, "verdict")}
            self.assertLessEqual({"flash_forward_fp32", "ring:double"}, judged)
            of_cases = records(folder, "case")
            lines = [r["case"] for r in of_cases if r["candidate"] == "ring:double"]
            for line in REGRESSIONS:
                self.assertEqual(lines.count(line), 1, line)

    def test_the_canary_is_rejected_with_its_evidence(self) -> None:
        done = gate("--candidate", "canary", "--case", SMALL)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("1 of 640 elements of out lie outside their bound", done.stdout)
        self.assertIn("(batch 0, head 1, row 19, column 15)", done.stdout)
        smallest = (
            "fwd/fp32/b1.hq1.hkv1.sq1.skv1.dqk1.dv1/full/scale0.25/uniform_probe:0/bhsd/single"
        )
        self.assertIn(f"ringproof gate --candidate canary --case '{smallest}'", done.stdout)
        self.assertIn("REJECTED", done.stdout.splitlines()[-1])
        self.assertLess(max(map(len, done.stdout.splitlines())), 210)

    def test_what_cases_of_ones_own_do_not_exercise_is_said_and_costs_nothing(self) -> None:
        line = SMALL.replace("gauss", "uniform_probe")
        with tempfile.TemporaryDirectory() as folder:
            done = gate("--candidate", "flash_forward_fp32", "--case", line, "--out", folder)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertIn(
                "not exercised: flash_forward_fp32 fp32: rescaling of O was not exercised: "
                "rescale mass 0, floor 0.000594 (mutant rescale_of_o_missing)",
                done.stdout,
            )
            facts = {fact["name"]: fact for fact in records(folder, "verdict")[0]["facts"]}
            self.assertEqual(facts["coverage of rescaling of O"]["value"], 0)

    def test_the_search_for_the_smallest_case_can_be_left_out(self) -> None:
        done = gate("--candidate", "canary", "--case", SMALL, "--no-shrink")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(f"rerun: ringproof gate --candidate canary --case '{SMALL}'", done.stdout)

    def test_what_one_call_does_not_show_is_said_and_not_shrunk(self) -> None:
        line = "fwd/fp32/b1.hq1.hkv1.sq20.skv30.dqk16.dv16/full/scale0.25/gauss:7/bhsd/single"
        said = "one call on this Case alone does not show it: rerun the whole sequence of calls"
        with tempfile.TemporaryDirectory() as folder:
            done = gate(
                "--candidate", "canary:restless", "--in-order", "--cases", "-", "--out", folder,
                stdin=f"{line}\n" * 5,
            )  # fmt: skip
            rejected = [r for r in records(folder, "case") if r["outcome"] == "rejected"]
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("does not repeat the bits of call", done.stdout)
        self.assertIn(said, done.stdout)
        self.assertNotIn("the smallest Case found", done.stdout)
        self.assertTrue(rejected, "the records name the rejected Cases")
        for record in rejected:
            self.assertEqual((record["smallest_case"], record["warnings"]), ("", [said]), record)

    def test_cases_without_an_element_are_inconclusive(self) -> None:
        done = gate("--case", SMALL.replace("sq20", "sq0"))
        self.assertEqual(done.returncode, 3, done.stdout)

    def test_a_candidate_named_twice_is_judged_once(self) -> None:
        done = gate("--candidate", "ring:double", "--candidate", "ring:double", "--case", SMALL)
        self.assertEqual(done.stdout.count("ring:double: accepted"), 1, done.stdout)

    def test_a_rejection_stands_though_its_files_cannot_be_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "junit.xml" / "taken").mkdir(parents=True)
            done = gate("--candidate", "canary", "--case", SMALL, "--out", folder)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("REJECTED", done.stdout)
            self.assertIn("junit.xml", done.stderr)

    def test_truncated_data_are_refused_before_anything_runs(self) -> None:
        real = "fwd/fp32/b1.hq12.hkv12.sq8.skv8.dqk32.dv32/full/scale0.25/real(lost):0/bhsd/single"
        with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as folder:
            source = ROOT / "golden/data/real"
            os.mkdir(f"{data}/real")
            for tensor in "qkv":
                stored = (source / f"minilm.0.{tensor}.npy").read_bytes()
                (pathlib.Path(data) / f"real/lost.{tensor}.npy").write_bytes(stored)
            done = command(
                "gate", "--candidate", "ring:double", "--in-order", "--cases", "-", "--out", folder,
                stdin=f"{SMALL}\n{real}\n{SMALL}\n", data=data,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            truncated = pathlib.Path(data) / "real/lost.v.npy"
            truncated.write_bytes(truncated.read_bytes()[:-2])
            done = command("gate", "--case", real, "--out", folder, data=data)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertIn("truncated", done.stderr)

    def test_a_candidate_nobody_named_may_be_left_unasked(self) -> None:
        done = gate("--case", BF16)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("not asked: flash_forward_fp32", done.stdout)

    def test_nothing_judged_is_inconclusive(self) -> None:
        done = gate("--candidate", "flash_forward_fp32", "--case", BF16)
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("nothing was judged", done.stdout)

    def test_what_is_outside_a_declaration_is_shown_and_harmless(self) -> None:
        done = gate("--candidate", "flash_forward_fp32", "--case", BF16, "--case", SMALL)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("Cases outside its declaration: 1 of bf16", done.stdout)

    def test_require_without_the_device_is_inconclusive(self) -> None:
        done = gate("--case", SMALL, "--require", "nccl")
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("--require nccl", done.stdout)

    def test_topology_rewrites_every_case(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            done = gate(
                "--case",
                SMALL,
                "--topology",
                "striped4",
                "--candidate",
                "ring:double",
                "--out",
                folder,
            )
            self.assertEqual(done.returncode, 0, done.stdout)
            judged = [record["case"] for record in records(folder, "case")]
            self.assertEqual(judged, [SMALL.replace("single", "striped4")])

    def test_in_order_keeps_order_and_repeats(self) -> None:
        lines = [RING, SMALL, SMALL, RING]
        with tempfile.TemporaryDirectory() as folder:
            done = gate(
                "--cases",
                "-",
                "--in-order",
                "--candidate",
                "ring:double",
                "--out",
                folder,
                stdin="# a remark\n\n" + "\n".join(lines) + "\n",
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual([r["case"] for r in records(folder, "case")], lines)

    def test_another_seed_asks_other_numbers_of_the_tier(self) -> None:
        def seeds(seed: str) -> set[str]:
            with tempfile.TemporaryDirectory() as folder:
                gate(
                    "--tier", "fast", "--seed", seed, "--candidate", "ring:double", "--out", folder
                )
                judged = {record["case"] for record in records(folder, "case")}
                return {case for case in judged - REGRESSIONS if "real(" not in case}

        one, other = seeds("0"), seeds("7")
        self.assertEqual(len(one), len(other))
        self.assertFalse(one & other)

    def test_interrupted_work_keeps_what_was_finished(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [str(RINGPROOF), "gate", "--tier", "nightly", "--out", folder],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and len(records(folder, "case")) < 3:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=600)
            self.assertEqual(process.returncode, 3, out)
            self.assertIn("interrupted after", out)
            self.assertGreaterEqual(len(records(folder, "case")), 3)
            self.assertEqual([record["interrupted"] for record in records(folder, "end")], [True])


class TestTiersThatAreInstalled(unittest.TestCase):
    """Cases from where an installed command finds them, not those of the tree."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.command = pathlib.Path(folder.name) / "bin/ringproof"
        self.command.parent.mkdir()
        shutil.copy(RINGPROOF, self.command)
        cases = pathlib.Path(folder.name) / "share/ringproof/cases"
        cases.mkdir(parents=True)
        (cases / "fast.txt").write_text(SMALL + "\n")
        (cases / "full.txt").write_text(BF16 + "\n")
        (cases / "regressions.txt").write_text(f"# failed once\n{RING}\n{SMALL}\n")

    def run_installed(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.command), *arguments], capture_output=True, text=True, timeout=900
        )
        self.assertIn(done.returncode, (0, 1, 3), done.stderr)
        return done.stdout

    def test_every_tier_ends_with_the_cases_that_failed_once(self) -> None:
        for tier, own in (("fast", [SMALL]), ("full", [SMALL, BF16])):
            listed = self.run_installed("list", "cases", "--tier", tier)
            self.assertEqual(listed.splitlines(), [*own, RING])

    def test_the_gate_replays_them_and_the_seed_leaves_them(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.run_installed("gate", "--candidate", "ring:double", "--seed", "3", "--out", folder)
            judged = sorted({record["case"] for record in records(folder, "case")})
        self.assertEqual(judged, sorted([SMALL.replace("gauss:7", "gauss:10"), RING, SMALL]))

    def test_power_replays_them(self) -> None:
        said = self.run_installed("power", "--mutant", "scale_missing")
        self.assertIn("on 2 Cases", said.splitlines()[-1])


class TestBadInput(unittest.TestCase):
    def assert_refused(self, said: str, *arguments: str, stdin: str | None = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "report"
            done = gate("--out", str(out), *arguments, stdin=stdin)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn(said, done.stderr)
            self.assertFalse(out.exists(), "nothing may be half-written")

    def test_malformed_case_names_the_position(self) -> None:
        self.assert_refused("position 10: wanted 'b'", "--case", "fwd/fp32/x1.hq2")
        self.assert_refused(
            "wanted a mask", "--case", SMALL.replace("causal_bottom_right", "causal")
        )
        self.assert_refused("wanted the end of the line", "--case", SMALL + "/more")

    def test_case_that_makes_no_sense(self) -> None:
        self.assert_refused(
            "not a multiple of hkv", "--case", SMALL.replace("hq2.hkv1", "hq3.hkv2")
        )

    def test_what_is_not_built_is_refused_with_a_sentence(self) -> None:
        descale = SMALL.replace("scale0.25", "scale0.25,descale(1,2,1)")
        self.assert_refused("descale factors belong to fp8 storage", "--case", descale)
        self.assert_refused(
            "bwd is not judged by this version", "--case", SMALL.replace("fwd/", "bwd/")
        )

    def test_unknown_candidate_names_those_there_are(self) -> None:
        said = "there is no candidate 'mine'; there are flash_forward_fp32"
        self.assert_refused(said, "--candidate", "mine", "--case", SMALL)

    def test_unreadable_case_file(self) -> None:
        self.assert_refused("/nowhere/cases.txt cannot be read", "--cases", "/nowhere/cases.txt")
        self.assert_refused("cannot be read", "--cases", "/")

    def test_bad_line_of_a_case_file_names_its_line(self) -> None:
        self.assert_refused("standard input, line 2", "--cases", "-", stdin=SMALL + "\nnonsense\n")

    def test_empty_case_file(self) -> None:
        self.assert_refused("holds no Case", "--cases", "-", stdin="# nothing\n")
        self.assert_refused("holds no Case", "--case", SMALL, "--cases", "-", stdin="# nothing\n")

    def test_absurd_sizes(self) -> None:
        self.assert_refused(
            "more bytes than 64 bits", "--case", SMALL.replace("sq20", "sq9000000000000000000")
        )
        self.assert_refused(
            "wanted a whole number", "--case", SMALL.replace("sq20", "sq99999999999999999999")
        )
        self.assert_refused("give smaller sizes", "--case", SMALL.replace("sq20", "sq900000000"))

    def test_sizes_no_loop_could_finish(self) -> None:
        self.assert_refused("more than 2^24", "--case", SMALL.replace("b1.", "b1000000000000."))
        ranks = SMALL.replace("single", "contiguous1048576")
        self.assert_refused("more ranks than this version runs", "--case", ranks)

    def test_scalars_and_offsets_that_mean_nothing(self) -> None:
        tiny = SMALL.replace("scale0.25", "scale1e-50")
        self.assert_refused("is 0 in fp32", "--case", tiny)
        beyond = SMALL.replace("gauss", "large_offset(1e9)")
        self.assert_refused("no fraction of a score", "--case", beyond)

    def test_unknown_tier_topology_and_requirement(self) -> None:
        self.assert_refused("there is no tier 'quick'", "--tier", "quick")
        self.assert_refused("wanted a topology", "--case", SMALL, "--topology", "spiral4")
        self.assert_refused("--require knows", "--case", SMALL, "--require", "fpga")

    def test_real_inputs_of_another_shape(self) -> None:
        self.assert_refused(
            "real(minilm.0) has batch 1, 12 heads",
            "--case",
            SMALL.replace("gauss:7", "real(minilm.0):0"),
        )

    def test_unwritable_output_folder(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            done = gate("--case", SMALL, "--out", file.name + "/report")
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn("/report", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_bad_usage_names_the_mend(self) -> None:
        for arguments, said in (
            (("gate", "--frobnicate"), "--frobnicate; see ringproof gate --help"),
            (("power", "--threads", "many"), "see ringproof power --help"),
            (("prove",), "see ringproof --help"),
        ):
            done = command(*arguments)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertEqual(done.stdout, "")
            self.assertRegex(done.stderr, r"\Aringproof: .*\n\Z")
            self.assertIn(said, done.stderr)

    def test_a_seed_below_0_is_refused(self) -> None:
        self.assert_refused("wanted a whole number of at least 0, got -1", "--seed", "-1")
        self.assertEqual(command("power", "--seed=-1").returncode, 2)


class TestOutput(unittest.TestCase):
    def test_what_could_not_be_written_is_no_acceptance(self) -> None:
        for arguments in (["gate", "--case", SMALL], ["list", "recipes"], ["gate", "--help"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run(
                    [str(RINGPROOF), *arguments], stdout=full, stderr=subprocess.PIPE, text=True
                )
            self.assertEqual(done.returncode, 3, arguments)
            self.assertIn("standard output could not be written", done.stderr)

    def test_a_reader_that_went_away_is_noticed(self) -> None:
        reads, writes = os.pipe()
        os.close(reads)
        done = subprocess.run(
            [str(RINGPROOF), "list", "recipes"], stdout=writes, stderr=subprocess.PIPE, text=True
        )
        os.close(writes)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("standard output could not be written", done.stderr)


class TestHelp(unittest.TestCase):
    def test_help_shows_examples_and_exit_codes(self) -> None:
        for arguments in (["--help"], ["gate", "--help"]):
            done = command(*arguments)
            self.assertEqual(done.returncode, 0)
            self.assertIn("Examples", done.stdout)
            self.assertIn("3 inconclusive", done.stdout)
            self.assertIn("half a minute", done.stdout)

    def test_lists(self) -> None:
        lists = {
            "candidates": "ring:double",
            "kernels": "runs on    host runtime; attention_fp64:cuda not run here: no CUDA device",
            "recipes": "walsh_probe",
            "masks": "window",
            "memory": "+page_end",
        }
        for what, found in {**lists, "cases": SMALL[:8]}.items():
            done = command("list", what)
            self.assertEqual(done.returncode, 0)
            self.assertIn(found, done.stdout)


def records(folder: str, kind: str) -> list[dict]:
    path = pathlib.Path(folder) / "results.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    parsed = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in parsed if record["record"] == kind]


if __name__ == "__main__":
    unittest.main()
