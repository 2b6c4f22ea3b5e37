"""Arrays over the memory of a worker: NumPy views with strides, and those of other libraries.

A region is a file without a name that both processes map; a tensor is an offset, a shape and
strides (in elements) in it. NumPy has no bf16 and fp8: ml_dtypes gives them. PyTorch, JAX and CuPy
make arrays of NumPy's; what they have no bridge for travels as integers of the same width.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ringproof.problem import DTYPES

Array = NDArray[Any]

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "fp64": np.dtype(np.float64),
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "fp8_e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "fp8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}


def dtype_of(word: str) -> np.dtype[Any]:
    """The NumPy dtype of a word of a Case line ("bf16"); ml_dtypes' where NumPy has none."""
    return NUMPY_DTYPES[word]


TORCH_DTYPES = {
    "fp64": "float64",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp8_e4m3": "float8_e4m3fn",
    "fp8_e5m2": "float8_e5m2",
}


MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0  # Python names it from 3.13 on


class BadResult(Exception):
    """What a callable returned is not what was asked; one sentence."""


class Regions:
    """The regions mapped into this process, by number.

    Where `is_private`, a write to a read-only region changes pages of this process alone (and is
    found by require_unchanged); else it ends the process by SIGSEGV.
    """

    def __init__(self, *, is_private: bool = False) -> None:
        self._is_private = is_private
        self._maps: dict[int, mmap.mmap] = {}
        self._shared: dict[int, mmap.mmap] = {}  # of private ones, what the parent sees

    def map(self, region: Mapping[str, Any], descriptor: int) -> None:
        """Maps one region of a `map` list and closes its descriptor."""
        number, size, is_writable = region["region"], region["bytes"], region["writable"]
        access = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
        try:
            mapping = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=access)
            if self._is_private and not is_writable:
                self._shared[number] = mapping
                access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | MAP_NORESERVE
                mapping = mmap.mmap(descriptor, size, flags=flags, prot=access)
        finally:
            os.close(descriptor)
        self._maps[number] = mapping
        if region.get("bytes_open", size) < size:
            _make_inaccessible(mapping, region["bytes_open"], size)

    def unmap(self, number: int) -> None:
        """Forgets a region. Where a callable has kept a view, its memory lives as long as that."""
        for mapping in (self._maps.pop(number), self._shared.pop(number, None)):
            try:
                if mapping is not None:
                    mapping.close()
            except BufferError:
                pass

    def view(self, tensor: Mapping[str, Any]) -> Array:
        """The tensor of a message, in NumPy, with its strides; read-only where its region is."""
        view = _view(tensor, self._maps)
        if tensor["region"] in self._shared:
            view.flags.writeable = False
        return view

    def require_unchanged(self, name: str, tensor: Mapping[str, Any]) -> None:
        """Raises BadResult where a private input was written to, and takes the writing back."""
        number = tensor["region"]
        if number not in self._shared or 0 in tensor["shape"]:
            return
        one, other = (_view(tensor, maps) for maps in (self._maps, self._shared))
        bits = np.dtype(f"u{one.itemsize}")
        if np.array_equal(one.view(bits), other.view(bits)):
            return
        self._maps[number].madvise(mmap.MADV_DONTNEED)
        raise BadResult(f"the callable wrote to its input {name}; inputs must come back unchanged")


def _view(tensor: Mapping[str, Any], maps: Mapping[int, mmap.mmap]) -> Array:
    dtype = NUMPY_DTYPES[DTYPES[tensor["dtype"]]]
    shape = tuple(tensor["shape"])
    if 0 in shape:
        return np.empty(shape, dtype=dtype)
    return np.ndarray(
        shape,
        dtype=dtype,
        buffer=maps[tensor["region"]],
        offset=tensor["offset"],
        strides=[stride * dtype.itemsize for stride in tensor["stride"]],
    )


def _make_inaccessible(mapping: mmap.mmap, begin: int, end: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    address = np.frombuffer(mapping, dtype=np.uint8).ctypes.data
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if libc.mprotect(address + begin, end - begin, 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed on a region's last pages")


def handed_over(view: Array, dtype: str, array: str) -> Any:
    """The view as an array of the library named: without a copy for PyTorch alone."""
    if array == "torch":
        return _torch_of(view, dtype)
    if array == "jax":
        import jax.numpy

        return jax.numpy.array(view)  # JAX's arrays never change, the memory here does: a copy
    if array == "cupy":
        import cupy

        return cupy.asarray(view)
    return view


def _torch_of(view: Array, dtype: str) -> Any:
    import torch

    integers = {1: np.uint8, 2: np.int16}
    is_foreign = view.dtype.kind == "V" or dtype == "bf16" or dtype.startswith("fp8")
    plain = view.view(integers[view.dtype.itemsize]) if is_foreign else view
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that the memory is read-only: it is, and a write ends here
        tensor = torch.from_numpy(plain)
    return tensor.view(getattr(torch, TORCH_DTYPES[dtype])) if is_foreign else tensor


def handed_back(result: Any, what: str) -> Array:
    """A returned array in NumPy, on the host. Raises BadResult for what is no array."""
    kind = type(result).__module__.partition(".")[0]
    if kind == "torch":
        result = result.detach().cpu()
        foreign = {"torch.bfloat16": "bf16", "torch.float8_e4m3fn": "fp8_e4m3"}
        foreign["torch.float8_e5m2"] = "fp8_e5m2"
        dtype = foreign.get(str(result.dtype))
        if dtype is None:
            return np.asarray(result.numpy())
        import torch

        integers = torch.int16 if dtype == "bf16" else torch.uint8
        return np.asarray(result.view(integers).numpy().view(NUMPY_DTYPES[dtype]))
    if kind == "cupy":
        return np.asarray(result.get())
    if isinstance(result, np.ndarray):
        return result
    if hasattr(result, "__array__") or hasattr(result, "__dlpack__"):
        return np.asarray(result) if hasattr(result, "__array__") else np.from_dlpack(result)
    raise BadResult(f"{what} came back as {type(result).__name__}; return an array")


def checked(result: Any, what: str, shape: tuple[int, ...], dtype: str) -> Array:
    """The result as a NumPy array that is what was asked. Raises BadResult saying what came."""
    got = handed_back(result, what)
    is_shaped = got.shape == shape or (what == "lse" and got.shape == (*shape, 1))
    if not is_shaped:
        raise BadResult(f"{what} came back with shape {got.shape}, wanted {shape}")
    if got.dtype != NUMPY_DTYPES[dtype]:
        raise BadResult(f"{what} came back as {got.dtype}, wanted {NUMPY_DTYPES[dtype]}")
    if not got.flags.c_contiguous:
        strides = tuple(stride // got.itemsize for stride in got.strides)
        raise BadResult(
            f"{what} came back non-contiguous (strides {strides} for shape {got.shape}); "
            "return a contiguous array, for instance through numpy.ascontiguousarray"
        )
    return got.reshape(shape)
