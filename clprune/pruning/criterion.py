"""How important a unit is: a norm of its weights, normalised by its size (Li et al. 2016 for L1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError

Matrix = NDArray[np.floating]

_POWERS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {"l1": np.abs, "l2": np.square}
_ROOTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {"l1": np.asarray, "l2": np.sqrt}


def weight_powers(weights: Matrix, *, criterion: str) -> NDArray[np.float64]:
    """What a weight adds to a norm: its magnitude ("l1") or its square ("l2"), float64 of the same shape.

    Raises UsageError for an unknown criterion.
    """
    if criterion not in _POWERS:
        raise UsageError(f"criterion {criterion!r}: expected one of {', '.join(_POWERS)}")
    return _POWERS[criterion](weights.astype(np.float64))


def block_scores(
    weights: Matrix, *, row_starts: NDArray[np.int64], column_starts: NDArray[np.int64], criterion: str
) -> NDArray[np.float64]:
    """Score of each block of `weights` `[M, K]`: float64 `[len(row_starts), len(column_starts)]`.

    A block reaches from its start to the next one (the last to the edge). "l1" is the mean magnitude, "l2" the root
    of the mean square, so that a partial block at the edge competes on equal terms. Raises UsageError for an unknown
    criterion and for weights that are not finite.
    """
    row_ends = np.append(row_starts[1:], weights.shape[0])
    sums = np.empty((len(row_starts), len(column_starts)))
    for block, (start, end) in enumerate(zip(row_starts, row_ends, strict=True)):
        # one row block at a time: a float64 copy of a large connected layer would be near a gigabyte
        columns = weight_powers(weights[start:end], criterion=criterion).sum(axis=0)
        sums[block] = columns if len(column_starts) == len(columns) else np.add.reduceat(columns, column_starts)
    if not np.isfinite(sums).all():
        raise UsageError("weights to prune hold NaN or infinity; importance is not defined")
    widths = np.diff(column_starts, append=weights.shape[1])
    return _ROOTS[criterion](sums / np.outer(row_ends - row_starts, widths))
