"""The integer hashing that every draw comes from, as reference/spec/inputs.cpp states it."""

import numpy as np

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashed_bits(seed: int, tensor: int, index: np.ndarray, word: int) -> np.ndarray:
    """64 hashed bits for every index."""
    with np.errstate(over="ignore"):
        stream = mix(np.uint64(seed) + GOLDEN_RATIO * np.uint64(tensor + 1))
        return mix(
            stream + GOLDEN_RATIO * (np.uint64(4) * index.astype(np.uint64) + np.uint64(word + 1))
        )
