"""Scales of activations from what a network computes on a calibration set.

The largest magnitude decides a scale only where the `share` of values it covers says so: clipping the few largest
activations costs less than coarse steps for all others (Wu et al. 2020, "Integer quantization for deep learning
inference: principles and empirical evaluation", section 4.3, percentiles).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.quantization.coding import LARGEST_CODE

DEFAULT_SHARE = 0.9999
BINS = 4096


class ActivationRange:
    """How large a layer's inputs are, over all batches that it is shown: a histogram of magnitudes.

    The histogram's end is a power of two that doubles when larger values come, so that the order of batches does not
    matter.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._exponent: int | None = None
        self._largest = 0.0

    def add(self, x: NDArray[np.float32], *, name: str) -> None:
        """Count the values of `x`, float32 of any shape; `name` is the layer's for UsageError about NaN, infinities."""
        magnitudes = np.abs(x).reshape(-1)
        largest = float(magnitudes.max(initial=0))
        if not math.isfinite(largest):
            raise UsageError(f"{name}: its input holds {largest} on the calibration images: expected finite values")
        self._largest = max(self._largest, largest)
        if largest > 0:
            self._cover(math.frexp(largest)[1])
        if self._exponent is None:
            return
        width = math.ldexp(1.0, self._exponent) / BINS
        places = np.minimum(magnitudes / np.float32(width), BINS - 1).astype(np.int64)
        self._counts += np.bincount(places, minlength=BINS)

    def _cover(self, exponent: int) -> None:
        """Let the histogram reach to 2 ** exponent."""
        if self._exponent is None:
            self._exponent = exponent
        while self._exponent < exponent:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate([pairs, np.zeros(BINS // 2, np.int64)])
            self._exponent += 1

    def scale(self, *, share: float = DEFAULT_SHARE) -> float:
        """The scale with which `share` of the values lie within -127 to 127 steps; 1.0 where all are zero.

        A share of 1.0 is the largest magnitude. The answer is a float32 value. Raises UsageError for another share
        than more than 0 up to 1.
        """
        if not 0 < share <= 1:
            raise UsageError(f"share {share} of activations: expected more than 0, at most 1")
        if self._exponent is None:
            return 1.0
        bins = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * int(self._counts.sum())))) + 1
        magnitude = min(self._largest, math.ldexp(1.0, self._exponent) * bins / BINS)
        return max(float(np.float32(magnitude / LARGEST_CODE)), float(np.finfo(np.float32).tiny))
