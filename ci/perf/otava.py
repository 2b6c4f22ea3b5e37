"""Change points of series by Apache Otava (E-divisive means with a t-test), where it is installed.

Otava is a program: it takes its configuration from OTAVA_CONFIG, reads CSV, and exits with 0 even
where it found a regression, so that only what it prints says anything: with `--output json` one
object per series, {"name": [{"changes": [{"index", "mean_before", "mean_after", ...}]}]}. Numbers
of the order stand for times: they are all that it makes of them.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import fence
from samples import RunError

BEGIN = 1_000_000_000  # of time, as far as Otava knows: 2001
SECONDS_MAX = 600


def program() -> str | None:
    """Where Otava is: $OTAVA, or `otava` in the path."""
    return shutil.which(os.environ.get("OTAVA", "otava"))


def change_points(series: list[list[float]]) -> list[list[fence.ChangePoint]]:
    """Of each series its change points. Requires program(); raises RunError with Otava's words."""
    otava = program()
    if otava is None:
        raise RunError("Otava is not installed (pip install apache-otava)")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        names = [f"series{at}" for at in range(len(series))]
        for one, values in zip(names, series):
            rows = [f"{BEGIN + 60 * at},{value!r}" for at, value in enumerate(values)]
            (folder / f"{one}.csv").write_text("\n".join(["time,value", *rows]) + "\n")
        config = folder / "otava.yaml"
        config.write_text(json.dumps({"tests": {one: test_of(folder, one) for one in names}}))
        try:
            done = subprocess.run(
                [otava, "analyze", *names, "--since", "2000-01-01", "--output", "json"],
                capture_output=True,
                text=True,
                env={**os.environ, "OTAVA_CONFIG": str(config)},
                timeout=SECONDS_MAX,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunError(f"Otava could not be run: {error}") from error
    found = objects_of(done.stdout)
    if done.returncode != 0 or not all(one in found for one in names):
        words = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise RunError(f"Otava ended with {done.returncode} and not every series: {words}")
    return [points_of(found[one]) for one in names]


def test_of(folder: pathlib.Path, name: str) -> dict:
    """A series as Otava's configuration has it; JSON is YAML too."""
    return {
        "type": "csv",
        "file": str(folder / f"{name}.csv"),
        "time_column": "time",
        "attributes": [],
        "metrics": {"value": {"column": "value", "direction": -1}},
        "csv_options": {"delimiter": ",", "quotechar": '"'},
    }


def objects_of(text: str) -> dict:
    """All that Otava printed: one JSON object after the other, words between them passed over."""
    found: dict = {}
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            one, at = decoder.raw_decode(text, at)
            found.update(one)
        except ValueError:
            at += 1
    return found


def points_of(printed: list[dict]) -> list[fence.ChangePoint]:
    try:
        return [
            fence.ChangePoint(
                int(change["index"]), float(change["mean_after"]) / float(change["mean_before"])
            )
            for group in printed
            for change in group["changes"]
        ]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(f"Otava printed change points of another form: {error!r}") from error
