"""Linear quantization: symmetric int8 with one scale per output channel.

For output channel m, `scale = max |w| / 127` and `code = round_half_to_even(w / scale)`, from -127 to 127 (Jacob et al.
2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference", section 2, for
the affine form; without a zero point, so that 0 is code 0 and pruned weights stay pruned). The code -128 is left out:
with it the range would not be symmetric.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.quantization.coding import LARGEST_CODE, LinearCoding, check_finite

#: Rows of smaller weights are coded with this scale: a subnormal one may be flushed to zero on a device.
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def linear_coding(weights: NDArray[np.float32], *, name: str, activation_scale: float | None = None) -> LinearCoding:
    """Codes of `weights` float32 `[output channels, ...]`; a row of zeros gets scale 1.

    `name` is the layer's for errors. Raises UsageError for NaN, infinities, and weights of fewer than two dimensions.
    """
    check_finite(weights, name=name)
    if weights.ndim < 2:
        raise UsageError(f"{name}: weights of shape {weights.shape}: expected [output channels, ...]")
    matrix = weights.reshape(len(weights), -1)
    scales = row_scales(matrix)
    codes = np.empty(matrix.shape, np.int8)
    for row, scale in enumerate(scales):
        codes[row] = quantize(matrix[row], scale=float(scale))  # row by row: no second copy of a large layer
    return LinearCoding(codes=codes.reshape(weights.shape), scales=scales, activation_scale=activation_scale)


def row_scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale per row of a float32 `[rows, columns]` matrix: max |w| / 127, 1 for a row of zeros."""
    largest = np.maximum(matrix.max(axis=1, initial=0), -matrix.min(axis=1, initial=0))
    scales = np.maximum(largest / np.float32(LARGEST_CODE), np.float32(SMALLEST_SCALE))
    return np.asarray(np.where(largest > 0, scales, np.float32(1)), np.float32)


def quantize(x: NDArray[np.float32], *, scale: float) -> NDArray[np.int8]:
    """Codes of float32 values, weights or activations: round half to even of x / scale, saturated at -127 and 127.

    The division is float32's, as on a device.
    """
    codes = np.rint(x / np.float32(scale))
    return np.asarray(np.clip(codes, -LARGEST_CODE, LARGEST_CODE), np.int8)
