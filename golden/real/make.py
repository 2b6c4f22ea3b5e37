"""Makes golden/data/real: q, k and v of two real transformers on golden/text.txt, and a manifest.

Attention kernels fail on what real layers do (sinks, one-hot rows, grouped heads), not on noise
alone, so a few layers are stored and nothing is downloaded when tests run. Each tensor is one file,
.npy format 1.0, fp16, C order, [heads, tokens, head_dim], holding exactly what enters attention (of
the decoder: after RoPE), rounded once from float64.

    python3 -m venv v && v/bin/pip install --no-deps -r golden/real/requirements.txt
    v/bin/python golden/real/make.py

The manifest is written without checks; check.py beside this file then checks both forward passes
and adds what it found (the test of the stored data asks for it).
"""

import hashlib
import json
import math
import platform
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np

import features
import minilm
import smollm2

GOLDEN = Path(__file__).resolve().parent.parent
TEXT, DATA = GOLDEN / "text.txt", GOLDEN / "data" / "real"
COMMAND = "python golden/real/make.py && python golden/real/check.py"
TEXT_SOURCE = (
    "Jane Austen, Pride and Prejudice (London: T. Egerton, 1813), chapter 1, public domain; "
    "wording of the ASCII transcription known as Project Gutenberg e-text 1342, without heading "
    "and emphasis marks, one line per paragraph"
)
MODELS: dict[str, tuple[ModuleType, tuple[int, ...], dict]] = {
    "minilm": (
        minilm,
        (0, 4, 5),
        {
            "model": "sentence-transformers/all-MiniLM-L6-v2 "
            "(encoder, BERT architecture, fp32 weights)",
            "model_license": "Apache-2.0",
            "model_license_source": "license field of model/README.md inside the package",
            "package_license": "MIT",
            "softmax_scale": 1 / math.sqrt(32),
            "mask": "full",
        },
    ),
    "smollm2": (
        smollm2,
        (0, 3, 18),
        {
            "model": "HuggingFaceTB/SmolLM2-135M-Instruct "
            "(causal decoder, Llama architecture, Q4_1 GGUF weights)",
            "model_license": "Apache-2.0",
            "model_license_source": "field general.license of the GGUF file inside the package",
            "package_license": "Apache-2.0",
            "softmax_scale": 1 / math.sqrt(64),
            "mask": "causal_top_left",
        },
    ),
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ids_sha256(ids: list[int]) -> str:
    return hashlib.sha256(np.array(ids, "<i4").tobytes()).hexdigest()


def store(name: str, values: np.ndarray) -> dict:
    """Writes one tensor and returns its line of the manifest; refuses what fp16 cannot hold."""
    largest = np.abs(values).max()
    assert largest <= np.finfo(np.float16).max, f"{name}: {largest} overflows fp16"
    path = DATA / f"{name}.npy"
    stored = np.ascontiguousarray(values.astype("<f2"))
    with path.open("wb") as file:
        np.lib.format.write_array(file, stored, version=(1, 0), allow_pickle=False)
    return {
        "sha256": sha256(path),
        "dtype": "<f2",
        "shape": list(stored.shape),
        "largest_magnitude": f"{np.abs(stored).max():.4f}",
    }


def make_model(name: str, text: str) -> tuple[dict, dict, dict]:
    """One model's entries of the manifest: about the model, per layer, per file."""
    module, wanted, about = MODELS[name]
    ids, activations, _ = module.run(text)
    weights = module.weights_file()
    entry = about | {
        "package": module.PACKAGE,
        "package_version": metadata.version(module.PACKAGE),
        "weights": {"file": weights.name, "sha256": sha256(weights)},
        "layers": list(wanted),
        "tokens": len(ids),
        "token_ids_sha256_of_int32_le": ids_sha256(ids),
    }
    layers, files = {}, {}
    for layer in wanted:
        for part, values in zip("qkv", activations[layer], strict=True):
            line = store(f"{name}.{layer}.{part}", values)
            about_file = {"model": name, "layer": layer, "tensor": part}
            files[f"{name}.{layer}.{part}.npy"] = about_file | line
        q, k = (np.load(DATA / f"{name}.{layer}.{part}.npy") for part in "qk")
        layers[f"{name}.{layer}"] = features.describe(q, k, about["softmax_scale"], about["mask"])
    return entry, layers, files


def main() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    text = TEXT.read_text(encoding="ascii")
    manifest: dict = {
        "about": "q, k and v of real transformer layers as they enter attention "
        "(the decoder's q and k after RoPE); the statistics are defined in golden/real/features.py",
        "command": COMMAND,
        "text": {"file": "golden/text.txt", "sha256": sha256(TEXT), "source": TEXT_SOURCE},
        "versions": {"python": platform.python_version(), "machine": platform.machine()}
        | {package: metadata.version(package) for package in ("numpy", "tokenizers")},
        "models": {},
        "layers": {},
        "files": {},
    }
    for name in MODELS:
        entry, layers, files = make_model(name, text)
        manifest["models"][name] = entry
        manifest["layers"] |= layers
        manifest["files"] |= files
    write_manifest(manifest)


def write_manifest(manifest: dict) -> None:
    (DATA / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
