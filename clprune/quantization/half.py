"""Half precision storage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.quantization.coding import HalfCoding
from clprune.quantization.finite import check_finite

LARGEST_HALF = float(np.finfo(np.float16).max)


def half_coding(weights: NDArray[np.float32], *, name: str) -> HalfCoding:
    """Float32 `weights` rounded to half precision; a weight below half of the smallest subnormal becomes zero.

    `name` is the layer's for errors. Raises UsageError for NaN, infinities, and weights above 65504.
    """
    check_finite(weights, name=name)
    largest = float(np.maximum(weights.max(initial=0), -weights.min(initial=0)))
    if largest > LARGEST_HALF:
        raise UsageError(f"{name}: a weight of magnitude {largest}: half precision ends at {LARGEST_HALF:g}")
    return HalfCoding(values=weights.astype(np.float16))
