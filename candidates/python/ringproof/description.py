"""What a callable says of itself: which Cases it wants to be asked, and its own precision.

The fields are those of rp_description and rp_arithmetic in candidate_abi.h, sets as words. A Case
outside a description is never asked; a looser Arithmetic widens bounds and stands in the verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ringproof.problem import ABI_VERSION, DTYPES, MASKS, SCHEDULES

# Index = bit of rp_description.features.
FEATURES = (
    "grouped_heads",
    "softcap",
    "sink",
    "arbitrary_strides",
    "writes_lse",
    "unequal_head_dims",
    "forward_deterministic",
    "wants_device_memory",
    "backward_deterministic",
    "nan_safe_unseen",
    "nan_safe_hidden",
    "empty_rows_defined",
    "non_positive_scale",
    "writes_sink_gradient",
    "lse_leaves_sink_out",
    "batch_invariant",
    "wants_bshd",
)
ARRAYS = ("numpy", "torch", "jax", "cupy")
STORAGE_DTYPES = DTYPES[1:7]


class BadInput(ValueError):
    """What was given makes no sense; one sentence that names it and the mend."""


class Unsupported(Exception):
    """Raised by a callable for a problem it does not compute: refused, and counted as such."""


class NotHere(Exception):
    """The candidate cannot run on this machine; the sentence says what is missing."""


@dataclass(frozen=True)
class Arithmetic:
    """A callable's own precision, field for field rp_arithmetic; None means the default.

    dtypes are words ("fp32", "bf16"); `key_order` is "monotone" or "any_order". What each field
    means stands in candidate_abi.h.
    """

    operand_dtype: str | None = None
    score_dtype: str | None = None
    p_dtype: str | None = None
    accumulator_dtype: str | None = None
    partial_dtype: str | None = None
    gradient_partial_dtype: str | None = None
    p_is_normalised: bool | None = None
    l_sums_cast_p: bool | None = None
    merge_is_lerp: bool | None = None
    key_order: str | None = None
    mma_block: int | None = None
    accumulator_fraction_bits: int | None = None
    accumulation_depth: int | None = None
    tile_kv: int | None = None
    merges: int | None = None
    gradient_partials: int | None = None
    exp_error_relative: float | None = None
    tanh_error_relative: float | None = None
    p_scale: float | None = None

    def message(self) -> dict[str, float]:
        """Its fields as the worker protocol carries them. Raises BadInput."""
        numbers: dict[str, float] = {}
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if value is None:
                continue
            if entry.name.endswith("_dtype"):
                value = _index_of(value, DTYPES, f"arithmetic.{entry.name}")
            elif entry.name == "key_order":
                value = _index_of(value, ("monotone", "any_order"), "arithmetic.key_order")
            numbers[entry.name] = int(value) if isinstance(value, bool) else value
        return numbers


@dataclass(frozen=True)
class Description:
    """Which Cases a callable wants to be asked: fp32 with the full mask, unless it says more."""

    dtypes: tuple[str, ...] = ("fp32",)
    masks: tuple[str, ...] = ("full",)
    features: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ("single",)
    array: str = "numpy"  #: what q, k and v come as: "numpy", "torch", "jax" or "cupy"
    contiguous: bool = False  #: True: never asked with strides other than dense ones
    name: str = ""
    head_dim_multiple: int = 0  #: 0 any
    head_dim_max: int = 0  #: 0 no limit
    seqlen_max: int = 0
    arithmetic: Arithmetic = Arithmetic()
    #: Where a storage dtype has an Arithmetic of its own.
    arithmetic_of: Mapping[str, Arithmetic] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  #: sentences shown with the verdict: every conversion made

    def message(self, dtype: str) -> dict[str, Any]:
        """The description for storage `dtype` ("default": what is supported). Raises BadInput."""
        if not self.dtypes or not self.masks:
            what = "dtypes" if not self.dtypes else "masks"
            raise BadInput(f"the description names no {what}; name at least one")
        if self.array not in ARRAYS:
            raise BadInput(f"array must be one of {', '.join(ARRAYS)}, not '{self.array}'")
        features = set(self.features)
        if not self.contiguous and "wants_bshd" not in features:
            features.add("arbitrary_strides")
        return {
            "abi_version": ABI_VERSION,
            "name": self.name,
            "dtypes": _bits(self.dtypes, DTYPES, "dtypes", STORAGE_DTYPES),
            "masks": _bits(self.masks, MASKS, "masks"),
            "features": _bits(features, FEATURES, "features"),
            "schedules": _bits(self.schedules, SCHEDULES, "schedules"),
            "directions": 1,
            "head_dim_multiple": self.head_dim_multiple,
            "head_dim_max": self.head_dim_max,
            "seqlen_max": self.seqlen_max,
            "arithmetic": self.arithmetic_of.get(dtype, self.arithmetic).message(),
        }


Callee = TypeVar("Callee", bound=Callable[..., Any])


def describe(**fields: Any) -> Callable[[Callee], Callee]:
    """Decorates a callable with its Description; the fields are Description's."""
    description = description_of_fields(fields)

    def attach(fn: Callee) -> Callee:
        fn.ringproof_description = description  # type: ignore[attr-defined]
        return fn

    return attach


def description_of_fields(
    fields: Mapping[str, Any], base: Description | None = None
) -> Description:
    """`base` with the fields given; one word may stand for a tuple of one. Raises BadInput."""
    known = [entry.name for entry in dataclasses.fields(Description)]
    given = dict(fields)
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"a description has no field '{name}'; it has {', '.join(known)}")
        if name in ("dtypes", "masks", "features", "schedules", "notes"):
            given[name] = (value,) if isinstance(value, str) else tuple(value)
        if name == "arithmetic" and isinstance(value, Mapping):
            given[name] = _arithmetic_of_fields(value)
    description = dataclasses.replace(base or Description(), **given)
    description.message("default")
    return description


def _arithmetic_of_fields(fields: Mapping[str, Any]) -> Arithmetic:
    known = [entry.name for entry in dataclasses.fields(Arithmetic)]
    for name in fields:
        if name not in known:
            raise BadInput(f"arithmetic has no field '{name}'; it has {', '.join(known)}")
    return Arithmetic(**fields)


def _index_of(word: object, words: tuple[str, ...], what: str) -> int:
    if word not in words:
        raise BadInput(f"{what} knows {', '.join(words)}, not '{word}'")
    return words.index(str(word))


def _bits(
    chosen: Iterable[str], words: tuple[str, ...], what: str, may: tuple[str, ...] = ()
) -> int:
    bits = 0
    for word in chosen:
        _index_of(word, may or words, what)
        bits |= 1 << words.index(word)
    return bits
