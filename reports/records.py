"""Reads results.jsonl, whole or cut short, into the records a report is made of.

Every line is checked against results.schema.json first, so that what follows may rely on every
field. A last line that was cut while it was written is left out and mentioned; any other fault of
the file is an InputError: one sentence that names the file, the line and the mend.
"""
import dataclasses
import json
import math
import pathlib

import jsonschema

SCHEMA_PATH = pathlib.Path(__file__).resolve().parent / "results.schema.json"
KINDS = ("run", "not_run", "case", "verdict", "ranks", "power", "end")
# In the order a reader wants them.
OUTCOMES = ("rejected", "inconclusive", "accepted", "unsupported")


class InputError(Exception):
    """The file cannot be read as a run; the message is one sentence for the user."""


@dataclasses.dataclass
class Run:
    """A run: its records by kind, in the order written. `end` is None where the run was killed."""

    run: dict
    not_run: list
    cases: list
    verdicts: list
    ranks: list
    powers: list
    end: dict | None
    last_line_cut: bool


def number(value):
    """A number of a record as a float: JSON has no non-finite ones, so they are strings there."""
    return float(value)


def bound_used(case):
    """The largest bound used of a Case's tensors; NaN counts as infinite; None where none is."""
    used = [number(tensor["bound_used"]) for tensor in case["tensors"]]
    return max((math.inf if math.isnan(u) else u for u in used), default=None)


def validators():
    schema = json.loads(SCHEMA_PATH.read_text())
    whole = {"$schema": schema["$schema"], "$defs": schema["$defs"]}
    return {kind: jsonschema.Draft202012Validator({**whole, "$ref": f"#/$defs/{kind}"})
            for kind in KINDS}


def parse_line(line, place, validator_of):
    """The record on a line. Raises InputError naming `place`."""
    try:
        record = json.loads(line)
    except ValueError:
        raise InputError(f"{place} is no JSON; give the folder of an unchanged run") from None
    kind = record.get("record") if isinstance(record, dict) else None
    if kind not in KINDS:
        raise InputError(f"{place} is no record of a run; give a folder of `ringproof gate`")
    fault = jsonschema.exceptions.best_match(validator_of[kind].iter_errors(record))
    if fault:
        where = "/".join(str(step) for step in fault.absolute_path) or kind
        sentence = " ".join(fault.message.split())[:200]
        raise InputError(f"{place} does not fit the schema at {where} ({sentence}); was it written "
                         "by another version?")
    return record


def read_text(path):
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        raise InputError(f"there is no {path}; run `ringproof gate --out {path.parent}` first"
                         ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def read_run(folder):
    """The run in folder/results.jsonl. Raises InputError."""
    path = pathlib.Path(folder) / "results.jsonl"
    *lines, rest = read_text(path).split("\n")  # every whole line ends with a newline
    validator_of = validators()
    records = [parse_line(line, f"{path}, line {count},", validator_of)
               for count, line in enumerate(lines, 1)]
    if not records:
        raise InputError(f"{path} holds no whole record; the run ended before it began")
    kinds = [record["record"] for record in records]
    if kinds[0] != "run" or kinds.count("run") > 1 or "end" in kinds[:-1]:
        raise InputError(f"{path} is not one run from its run record to its end; give it unchanged")
    by_kind = {kind: [r for r in records if r["record"] == kind] for kind in KINDS}
    return Run(by_kind["run"][0], by_kind["not_run"], by_kind["case"], by_kind["verdict"],
               by_kind["ranks"], by_kind["power"], by_kind["end"][0] if by_kind["end"] else None,
               rest != "")
