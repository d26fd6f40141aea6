"""How a layer's weights lie in few bits: codes together with what turns them back into float32.

`decode()` of every coding is the one definition of the values: kernels that dequantize in registers compute the same
product (linear), look up the same entry (codebook) or convert the same number (half), so results agree with a network
that holds the decoded weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError

LARGEST_CODE = 127
CODEBOOK_ENTRIES = (16, 256)
LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearCoding:
    """Symmetric int8, one scale per output channel: `w = code * scale`.

    `codes` int8 of the weights' shape, output channels first, from -127 to 127; `scales` float32 `[output channels]`,
    positive. `activation_scale` is set where the layer's input is quantized too, one for the whole input:
    `code = clip(round_half_to_even(x * float32(1 / activation_scale)), -127, 127)`, `x = code * activation_scale`; the
    factor is rounded once, so that all devices agree. Raises UsageError for arrays of other shapes or types.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    activation_scale: float | None = None

    def __post_init__(self) -> None:
        _check_dtype("codes", self.codes, np.int8)
        _check_dtype("scales", self.scales, np.float32)
        if self.codes.ndim < 2 or self.scales.shape != (len(self.codes),):
            raise UsageError(
                f"linear coding: {self.scales.shape} scales for codes {self.codes.shape}: expected one for each of at "
                "least two dimensions' first"
            )
        if self.codes.size and self.codes.min() < -LARGEST_CODE:
            raise UsageError(f"linear coding: a code of -128: expected codes from -{LARGEST_CODE} to {LARGEST_CODE}")
        check_scales(self.scales, self.activation_scale)

    def decode(self) -> NDArray[np.float32]:
        """The weights, float32 of the codes' shape: the product of the code as float32 and its channel's scale."""
        return self.codes.astype(np.float32) * self.scales.reshape(-1, *[1] * (self.codes.ndim - 1))

    @property
    def bits(self) -> int:
        """Bits of one weight."""
        return 8


@dataclass(frozen=True, kw_only=True, eq=False)
class CodebookCoding:
    """One table of values for the layer: `w = codebook[code]`.

    `codes` uint8 of the weights' shape; `codebook` float32 `[16]` or `[256]`. Where weights were pruned, entry 0 is
    exactly 0.0 and is theirs alone. Raises UsageError for arrays of other shapes or types, or codes behind the
    table's end.
    """

    codes: NDArray[np.uint8]
    codebook: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check_dtype("codes", self.codes, np.uint8)
        _check_dtype("codebook", self.codebook, np.float32)
        if self.codebook.ndim != 1 or len(self.codebook) not in CODEBOOK_ENTRIES:
            raise UsageError(f"codebook coding: a codebook of {self.codebook.shape} entries: expected 16 or 256")
        if not np.isfinite(self.codebook).all():
            raise UsageError("codebook coding: expected finite entries")
        if len(self.codebook) == 16 and self.codes.size and self.codes.max() > 15:
            raise UsageError(f"codebook coding: code {self.codes.max()} of a codebook with 16 entries")

    def decode(self) -> NDArray[np.float32]:
        """The weights, float32 of the codes' shape."""
        return self.codebook[self.codes]

    @property
    def bits(self) -> int:
        """Bits of one code: 4 or 8."""
        return 4 if len(self.codebook) == 16 else 8


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfCoding:
    """IEEE half precision: `values` float16 of the weights' shape, subnormals included. Raises UsageError."""

    values: NDArray[np.float16]

    def __post_init__(self) -> None:
        _check_dtype("values", self.values, np.float16)

    def decode(self) -> NDArray[np.float32]:
        """The weights, float32 of the values' shape."""
        return self.values.astype(np.float32)

    @property
    def bits(self) -> int:
        """Bits of one weight."""
        return 16


def check_scales(scales: NDArray[np.float32], activation_scale: float | None) -> None:
    """Raise UsageError for scales of linear codes that are not positive, or with which a value is not finite."""
    smallest, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max) / LARGEST_CODE
    if not ((scales > 0) & (scales <= largest)).all():
        raise UsageError(f"linear coding: scales that are not finite and positive: expected up to {largest:g}")
    if activation_scale is not None and not smallest <= activation_scale <= largest:  # finite is its reciprocal, too
        found = f"an activation scale of {activation_scale:g}"
        raise UsageError(f"linear coding: {found}: expected {smallest:g} to {largest:g}")


Coding = LinearCoding | CodebookCoding | HalfCoding


def half_coding(weights: NDArray[np.float32], *, name: str) -> HalfCoding:
    """Float32 `weights` rounded to half precision; a weight below half of the smallest subnormal becomes zero.

    `name` is the layer's for errors. Raises UsageError for NaN, infinities, and weights above 65504.
    """
    check_finite(weights, name=name)
    largest = float(np.maximum(weights.max(initial=0), -weights.min(initial=0)))
    if largest > LARGEST_HALF:
        raise UsageError(f"{name}: a weight of magnitude {largest}: half precision ends at {LARGEST_HALF:g}")
    return HalfCoding(values=weights.astype(np.float16))


def check_finite(weights: NDArray[np.float32], *, name: str) -> None:
    """Raise UsageError with the layer's `name` where `weights` hold NaN or an infinity."""
    # the sum of finite float32 values is finite in float64, so that one pass without a mask of the weights' size does
    with np.errstate(invalid="ignore"):  # infinities of both signs
        if np.isfinite(np.sum(weights, dtype=np.float64)):
            return
    flat = weights.reshape(-1)
    first = int(np.flatnonzero(~np.isfinite(flat))[0])
    raise UsageError(f"{name}: weight {first} is {flat[first]}: expected finite weights to quantize")


def _check_dtype(name: str, array: NDArray[np.generic], dtype: type[np.generic]) -> None:
    if array.dtype != dtype:
        raise UsageError(f"{name} of {array.dtype}: expected {np.dtype(dtype)}")
