"""Precisions in which products may be computed, and how far their results may stray. Sums are float32 in any case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FLOAT32, TF32, FLOAT16, BFLOAT16 = "float32", "tf32", "float16", "bfloat16"


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a factor is held: `significant_bits` say how exactly, `exponent_bits` from how small to how large.

    `error` is the largest error of a layer, relative to its largest result, that rounding its weights and inputs so may
    cause. With 11 significant bits each product strays by up to 2^-10 and half of that as a rule, sums of many by less;
    with 8 by eight times as much.
    """

    significant_bits: int
    exponent_bits: int
    size_bytes: int
    error: float

    def holds(self, other: Format) -> bool:
        """Whether it is as exact as the other one, and reaches as far: its values are all among these."""
        return self.significant_bits >= other.significant_bits and self.exponent_bits >= other.exponent_bits


#: From exact to coarse. bfloat16 is coarser than float16 but reaches as far as float32: neither stands for the other.
FORMATS: Mapping[str, Format] = {
    FLOAT32: Format(significant_bits=24, exponent_bits=8, size_bytes=4, error=0.0),
    TF32: Format(significant_bits=11, exponent_bits=8, size_bytes=4, error=1e-3),
    FLOAT16: Format(significant_bits=11, exponent_bits=5, size_bytes=2, error=1e-3),
    BFLOAT16: Format(significant_bits=8, exponent_bits=8, size_bytes=2, error=8e-3),
}

PRECISIONS = tuple(FORMATS)

#: Precision -> `Format.error`.
PRECISION_ERRORS: Mapping[str, float] = {precision: form.error for precision, form in FORMATS.items()}
