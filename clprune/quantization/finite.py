"""Refusing weights that no code can stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError


def check_finite(weights: NDArray[np.float32], *, name: str) -> None:
    """Raise UsageError with the layer's `name` where `weights` hold NaN or an infinity."""
    # the sum of finite float32 values is finite in float64, so that one pass without a mask of the weights' size does
    with np.errstate(invalid="ignore"):  # infinities of both signs
        if np.isfinite(np.sum(weights, dtype=np.float64)):
            return
    flat = weights.reshape(-1)
    first = int(np.flatnonzero(~np.isfinite(flat))[0])
    raise UsageError(f"{name}: weight {first} is {flat[first]}: expected finite weights to quantize")
