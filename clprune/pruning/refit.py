"""What stays of a filter in the Winograd domain takes over what it can of the values that go. In closed form, no data.

A transform spreads each weight of a 3x3 kernel over many values of U, which cancel each other in the output: removing
some leaves the others without their counterweight. For an input tile d of known covariance the mean square of

    A^T [(U' - U) . (B^T d B)] A

is a quadratic form in the alpha^2 values of one filter and input channel, and the U' with the given zeros that makes it
smallest follows from a small system of linear equations. Optimal Brain Surgeon (Hassibi & Stork 1993) with the layer's
own output for an objective; applied to the Winograd domain, our choice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.pruning.unit import Mask
from clprune.pruning.winograd import output_metric

Float64 = NDArray[np.float64]

#: Systems of equations solved together: 5 MB of F(4x4, 3x3)'s.
PATTERNS_AT_ONCE = 512


def refit(values: LayerWeights, mask: Mask) -> LayerWeights:
    """`values` with zeros where `mask` `[alpha^2 * out, in]` says so, and what stays fitted to the output before.

    Raises UsageError for weights that are not in the Winograd domain, or a mask of another shape.
    """
    if values.winograd is None or values.weights.ndim != 4:
        raise UsageError("weights in the spatial domain have nothing to refit: expected those of the Winograd domain")
    alpha, _, out, channels = values.weights.shape
    if mask.shape != (alpha**2 * out, channels):
        raise UsageError(f"a mask of {mask.shape}: expected {(alpha**2 * out, channels)}")
    metric = output_metric(values.winograd)
    kept = mask.reshape(alpha**2, out * channels)
    u = values.weights.reshape(alpha**2, out * channels).astype(np.float64)
    # filters and channels that keep the same places share one system of equations
    bits = np.left_shift(np.int64(1), np.arange(alpha**2, dtype=np.int64))
    _, first, pattern_of, counts = np.unique(bits @ kept, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(pattern_of.reshape(-1), kind="stable")
    ends = np.cumsum(counts)
    fitted = np.zeros_like(u)
    for start in range(0, len(first), PATTERNS_AT_ONCE):
        chunk = slice(start, start + PATTERNS_AT_ONCE)
        solutions = _solutions(metric, kept[:, first[chunk]].T)
        for solution, end, count in zip(solutions, ends[chunk], counts[chunk], strict=True):
            places = order[end - count : end]
            fitted[:, places] = solution @ u[:, places]
    weights = np.where(kept, fitted, 0).astype(np.float32).reshape(values.weights.shape)
    return replace(values, weights=weights, coding=None)


def _solutions(metric: Float64, kept: Mask) -> Float64:
    """For each pattern of `kept` `[patterns, alpha^2]` the matrix from all values to the fitted ones."""
    both = kept[:, :, None] & kept[:, None, :]
    # a removed place has an equation of its own, with zero for an answer
    left = np.where(both, metric, 0) + np.where(kept[:, :, None], 0, np.eye(len(metric)))
    right = np.where(kept[:, :, None], metric, 0)
    solutions: Float64 = np.linalg.solve(left, right)
    return solutions
