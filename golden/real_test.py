"""Tests of golden/data/real, with NumPy alone: nothing that made the data is needed or downloaded.

The statistics of every layer are computed again from the stored fp16 and compared with the manifest
as the strings it prints; the checks of the forward passes are what golden/real/check.py recorded.
"""

import hashlib
import json
import math
import sys
import unittest
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parent
DATA = GOLDEN / "data" / "real"
sys.path.insert(0, str(GOLDEN / "real"))
import features  # noqa: E402  (lies beside the scripts that made the data)

MANIFEST: dict[str, Any] = json.loads((DATA / "manifest.json").read_text(encoding="ascii"))
FILES: dict[str, Any] = MANIFEST["files"]
MODELS: dict[str, Any] = MANIFEST["models"]
SHAPES = {
    ("minilm", "q"): [12, 512, 32],
    ("minilm", "k"): [12, 512, 32],
    ("minilm", "v"): [12, 512, 32],
    ("smollm2", "q"): [9, 640, 64],
    ("smollm2", "k"): [3, 640, 64],
    ("smollm2", "v"): [3, 640, 64],
}
LAYERS = ["minilm.0", "minilm.4", "minilm.5", "smollm2.0", "smollm2.3", "smollm2.18"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(layer: str, part: str) -> np.ndarray:
    return np.load(DATA / f"{layer}.{part}.npy", allow_pickle=False)


def heads(model: str, name: str) -> int:
    """How many heads of all stored layers of a model bear a name (sink_heads and so on)."""
    return sum(len(entry[name]) for layer, entry in MANIFEST["layers"].items() if model in layer)


class StoredFiles(unittest.TestCase):
    def test_manifest_lists_every_file_and_every_layer(self) -> None:
        self.assertEqual({path.name for path in DATA.glob("*.npy")}, set(FILES))
        self.assertEqual(set(FILES), {f"{layer}.{part}.npy" for layer in LAYERS for part in "qkv"})
        self.assertEqual(list(MANIFEST["layers"]), LAYERS)

    def test_sha256_of_files_and_text_are_those_of_the_manifest(self) -> None:
        for name, entry in FILES.items():
            self.assertEqual(sha256(DATA / name), entry["sha256"], name)
        self.assertEqual(sha256(GOLDEN / "text.txt"), MANIFEST["text"]["sha256"])

    def test_files_are_npy_version_1_little_endian_fp16_in_c_order(self) -> None:
        for name, entry in FILES.items():
            with (DATA / name).open("rb") as file:
                self.assertEqual(np.lib.format.read_magic(file), (1, 0), name)
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            self.assertEqual((dtype.str, fortran_order), (entry["dtype"], False), name)
            self.assertEqual(dtype.str, "<f2", name)
            self.assertEqual(list(shape), entry["shape"], name)
            self.assertEqual(list(shape), SHAPES[entry["model"], entry["tensor"]], name)

    def test_every_value_is_finite_and_the_largest_is_the_manifests(self) -> None:
        for name, entry in FILES.items():
            values = np.load(DATA / name)
            self.assertTrue(np.isfinite(values).all(), name)
            self.assertEqual(f"{np.abs(values).max():.4f}", entry["largest_magnitude"], name)

    def test_no_two_files_and_no_two_heads_of_a_file_are_equal(self) -> None:
        values = {name: np.load(DATA / name) for name in FILES}
        for one, other in combinations(values, 2):
            self.assertFalse(np.array_equal(values[one], values[other]), f"{one} equals {other}")
        for name, tensor in values.items():
            for one, other in combinations(tensor, 2):
                self.assertFalse(np.array_equal(one, other), f"two equal heads in {name}")


class StoredAttention(unittest.TestCase):
    def test_statistics_computed_again_are_those_of_the_manifest(self) -> None:
        for layer in LAYERS:
            model = MODELS[layer.split(".")[0]]
            q, k = load(layer, "q"), load(layer, "k")
            got = features.describe(q, k, model["softmax_scale"], model["mask"])
            self.assertEqual(got, MANIFEST["layers"][layer], layer)

    def test_scale_is_one_over_the_root_of_the_head_dimension(self) -> None:
        for layer in LAYERS:
            scale = MODELS[layer.split(".")[0]]["softmax_scale"]
            self.assertEqual(scale, 1 / math.sqrt(load(layer, "q").shape[2]), layer)

    def test_encoder_has_sink_one_hot_and_diffuse_heads(self) -> None:
        self.assertEqual(MODELS["minilm"]["mask"], "full")
        for name in ("sink_heads", "one_hot_heads", "diffuse_heads"):
            self.assertGreater(heads("minilm", name), 0, name)

    def test_decoder_is_causal_with_grouped_heads_and_sinks(self) -> None:
        self.assertEqual(MODELS["smollm2"]["mask"], "causal_top_left")
        self.assertLess(load("smollm2.0", "k").shape[0], load("smollm2.0", "q").shape[0])
        self.assertGreater(heads("smollm2", "sink_heads"), 0)
        self.assertGreater(heads("smollm2", "diffuse_heads"), 0)


class RecordedChecks(unittest.TestCase):
    def test_token_ids_checked_are_those_the_data_were_made_from(self) -> None:
        for name, model in MODELS.items():
            ids = "token_ids_sha256_of_int32_le"
            self.assertEqual(model["checks"][ids], model[ids], name)

    def test_independent_fp64_forward_passes_store_the_same_bits(self) -> None:
        decoder = MODELS["smollm2"]["checks"]["against_transformers_fp64"]
        for name, check in (("minilm", MODELS["minilm"]["checks"]), ("smollm2", decoder)):
            stored = sum(load(x, part).size for x in LAYERS if name in x for part in "qkv")
            self.assertEqual(check["qkv_elements"], stored, name)
            self.assertEqual(check["qkv_fp16_elements_that_differ"], 0, name)
        self.assertEqual(decoder["perplexity"], MODELS["smollm2"]["checks"]["perplexity"])

    def test_licences_of_both_models_and_packages_are_told(self) -> None:
        told = (DATA / "LICENSES.md").read_text(encoding="ascii")
        for model in MODELS.values():
            for key in ("package", "package_version", "package_license", "model_license"):
                self.assertIn(model[key], told)


if __name__ == "__main__":
    unittest.main()
