#!/usr/bin/env python3
"""Holds a real run of the command against results.schema.json, and the schema against faults.

RINGPROOF_BIN names the folder of the command.
"""
import copy
import json
import os
import pathlib
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import jsonschema

SCHEMA = pathlib.Path(__file__).resolve().parent / "results.schema.json"
RINGPROOF = pathlib.Path(os.environ.get("RINGPROOF_BIN", "build/bin")) / "ringproof"
SHAPE = "b1.hq2.hkv1.sq20.skv30.dqk16.dv16"
PLAIN = f"fwd/fp32/{SHAPE}/causal_bottom_right/scale0.25/gauss:7/bhsd/single"
RING = f"fwd/fp32/{SHAPE}/full/scale0.25/gauss:8/bhsd/zigzag3"
BF16 = f"fwd/bf16/{SHAPE}/window(3,0)/scale0.25/gauss:9/bhsd/single"
EXACT = f"fwd/bf16/{SHAPE}/full/scale0.25/exact:10/bhsd/single"
ONE_KEY = "fwd/fp32/b1.hq1.hkv1.sq1.skv1.dqk8.dv8/full/scale0.5/large_offset(10000):1/bhsd/single"
CASES = (PLAIN, RING, BF16, EXACT, ONE_KEY)
# A record that no run of the built-in candidates writes: a fact, and numbers that are not finite.
MADE = {"record": "verdict", "candidate": "c", "outcome": "rejected", "scope": "", "contract": "",
        "count_cases": 1, "count_accepted": 0, "count_unsupported": 0, "count_refused": 0,
        "count_inconclusive": 0, "count_rejected": 1, "count_elements": 0,
        "bound_used": "inf",
        "noise": {"judged": True, "rows": 0, "figure": "nan", "worst_rows": 0,
                  "worst_figure": "inf", "worst_head": [0, 1]},
        "bias": {"judged": False, "rows": 1, "beta": "-inf", "standard_error": "nan", "limit": 0},
        "failing_checks": ["pooled bias of out"], "reason": "why", "time_ms": "nan",
        "facts": [{"name": "f", "value": "-inf", "unit": "1", "measured_against": "1.05"}]}


def run_gate(folder):
    command = [str(RINGPROOF), "gate", "--threads", "2", "--out", folder]
    for name in ("flash_forward_fp32", "ring:double", "canary"):
        command += ["--candidate", name]
    for line in CASES:
        command += ["--case", line]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def objects_in(value):
    """Every object in `value`, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            yield from objects_in(inner)


def altered(record, keys_of):
    """Yields (what, object, key, copy of the record it is in) for each of `keys_of(object)`."""
    for index, original in enumerate(objects_in(record)):
        for key in keys_of(original):
            other = copy.deepcopy(record)
            yield f"{record['record']}: {key}", list(objects_in(other))[index], key, other


class SchemaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.done = run_gate(folder)
            if cls.done.returncode != 1:
                raise AssertionError(f"the gate ended {cls.done.returncode}: {cls.done.stderr}")
            cls.text = (pathlib.Path(folder) / "results.jsonl").read_text(encoding="ascii")
            cls.junit = xml.etree.ElementTree.parse(pathlib.Path(folder) / "junit.xml").getroot()
        cls.records = [json.loads(line) for line in cls.text.splitlines()]
        cls.schema = json.loads(SCHEMA.read_text())
        cls.validator = jsonschema.Draft202012Validator(cls.schema)

    def of_kind(self, kind):
        return [record for record in self.records if record["record"] == kind]

    def test_the_schema_is_one(self):
        jsonschema.Draft202012Validator.check_schema(self.schema)
        self.assertEqual(self.schema["$schema"], "https://json-schema.org/draft/2020-12/schema")

    def test_every_field_is_described_and_required_and_no_other_is_let_in(self):
        kinds = [one for one in objects_in(self.schema) if one.get("type") == "object"]
        self.assertEqual(len(kinds), len(self.schema["$defs"]))
        for kind in kinds:
            self.assertIs(kind["additionalProperties"], False, kind["title"])
            self.assertEqual(kind["required"], list(kind["properties"]), kind["title"])
            for name, field in kind["properties"].items():
                self.assertIn("description", field, f"{kind['title']}: {name}")

    def test_the_run_holds_every_kind_of_record_and_every_way_a_case_ends_here(self):
        kinds = {record["record"] for record in self.records}
        self.assertEqual(kinds, {"run", "not_run", "case", "verdict", "ranks", "power", "end"})
        outcomes = {record["outcome"] for record in self.of_kind("case")}
        self.assertEqual(outcomes, {"accepted", "unsupported", "rejected"})
        names = {t["name"] for record in self.of_kind("case") for t in record["tensors"]}
        self.assertEqual(names, {"out", "lse", "out by value"})

    def test_every_record_of_a_real_run_is_valid(self):
        for record in [*self.records, MADE]:
            faults = [fault.message for fault in self.validator.iter_errors(record)]
            self.assertEqual(faults, [], record)

    def test_a_record_that_lacks_any_field_is_invalid(self):
        count = 0
        for record in [*self.records, MADE]:
            for what, part, key, other in altered(record, list):
                del part[key]
                self.assertFalse(self.validator.is_valid(other), what)
                count += 1
        self.assertGreater(count, len(self.records))

    def test_a_record_with_a_field_nobody_knows_is_invalid(self):
        for record in [*self.records, MADE]:
            for what, part, key, other in altered(record, lambda _: ["unknown"]):
                part[key] = 0
                self.assertFalse(self.validator.is_valid(other), what)

    def test_a_field_of_another_type_is_invalid(self):
        for record in [*self.records, MADE]:
            for what, part, key, other in altered(record, list):
                part[key] = None
                self.assertFalse(self.validator.is_valid(other), what)

    def test_numbers_that_are_not_finite_are_valid_by_their_names_only(self):
        record = next(record for record in self.of_kind("case") if record["tensors"])
        for name in ("want", "got", "error", "bound", "bound_used"):
            for value, want in (("nan", True), ("inf", True), ("Infinity", False)):
                other = copy.deepcopy(record)
                other["tensors"][0][name] = value
                self.assertIs(self.validator.is_valid(other), want, f"{name} {value}")

    def test_records_stand_in_the_order_of_the_run(self):
        kinds = [record["record"] for record in self.records]
        self.assertEqual((kinds[0], kinds[-1]), ("run", "end"))
        self.assertEqual((kinds.count("run"), kinds.count("end")), (1, 1))
        last_case = len(kinds) - 1 - kinds[::-1].index("case")
        self.assertGreater(kinds.index("verdict"), last_case)
        sequence = [record["sequence"] for record in self.of_kind("case")]
        # Some Cases are called twice; a second call that shows nothing new is counted, not kept.
        self.assertEqual(sequence[0], 0)
        self.assertEqual(sequence, sorted(set(sequence)))
        self.assertGreaterEqual(len(sequence), 3 * len(CASES))

    def test_fields_keep_the_order_of_the_schema(self):
        for record in self.records:
            self.assertEqual(list(record), self.schema["$defs"][record["record"]]["required"])

    def test_the_canary_is_rejected_with_its_worst_element(self):
        case = next(record for record in self.of_kind("case")
                    if (record["candidate"], record["case"]) == ("canary", PLAIN))
        self.assertEqual((case["status"], case["outcome"]), ("returned", "rejected"))
        self.assertNotEqual(case["reason"], "")
        out = case["tensors"][0]
        self.assertEqual((out["count"], out["count_outside"]), (2 * 20 * 16, 1))
        self.assertEqual(out["worst_index"], [0, 1, 19, 15])
        self.assertGreater(out["error"], out["bound"])
        self.assertEqual(out["error"] / out["bound"], out["bound_used"])

    def test_the_ranks_of_a_ring_did_what_its_formula_says(self):
        record, = self.of_kind("ranks")
        self.assertEqual((record["topology"], record["longest_case"]), ("zigzag3", RING))
        # K and V of 30 tokens, 10 to a rank: every rank sends two of three blocks.
        self.assertEqual(record["bytes_sent"], {"got": 3 * 20 * 32 * 4, "want": 3 * 20 * 32 * 4})
        self.assertEqual(record["exchanges"], {"got": 6, "want": 6})
        self.assertEqual(record["pairs"], {"got": 2 * 20 * 30, "want": 2 * 20 * 30})
        for rank in record["ranks"]:
            self.assertEqual([step["step"] for step in rank["steps"]], [0, 1, 2, 3])

    def test_counts_of_each_verdict_are_those_of_its_cases(self):
        for name in ("flash_forward_fp32", "ring:double", "canary"):
            verdicts = [v for v in self.of_kind("verdict") if v["candidate"] == name]
            judged = [c for c in self.of_kind("case")
                      if (c["candidate"], c["status"]) == (name, "returned")]
            for outcome in ("accepted", "inconclusive", "rejected"):
                count = sum(case["outcome"] == outcome for case in judged)
                self.assertEqual(sum(v[f"count_{outcome}"] for v in verdicts), count, name)
            for v in verdicts:
                self.assertEqual(v["count_cases"], sum(v[f"count_{k}"] for k in (
                    "accepted", "unsupported", "refused", "inconclusive", "rejected")))

    def test_the_junit_file_agrees_with_the_records(self):
        verdicts = self.of_kind("verdict")
        self.assertEqual([s.get("name") for s in self.junit], [v["candidate"] for v in verdicts])
        for suite, verdict in zip(self.junit, verdicts, strict=True):
            self.assertEqual(int(suite.get("tests")), verdict["count_cases"])
            for element, attribute, kinds in (("failure", "failures", ("rejected",)),
                                              ("error", "errors", ("inconclusive",)),
                                              ("skipped", "skipped", ("unsupported", "refused"))):
                count = sum(verdict[f"count_{kind}"] for kind in kinds)
                self.assertEqual(int(suite.get(attribute)), count)
                self.assertEqual(len(suite.findall(f"testcase/{element}")), count)


if __name__ == "__main__":
    unittest.main()
