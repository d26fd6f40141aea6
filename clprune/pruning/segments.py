"""Rows cut into segments, and the same number of weights kept in each: what `balanced` and `nm` share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clprune.pruning.criterion import Matrix
from clprune.pruning.unit import Mask, UnitGrid
from clprune.unit import Unit

#: Weights that are ranked at a time: ranks and scores of a whole connected layer would take gigabytes.
CHUNK_WEIGHTS = 1 << 22


def mask_segments(
    weights: Matrix, *, unit: Unit, kept_of: Callable[[int], int], criterion: str, group_rows: int | None = None
) -> Mask:
    """Keep the best vectors of each segment: bool `[M, K]`, True where a weight stays.

    The matrix is cut into row blocks of `unit.rows` and segments of `unit.columns`; what competes in a segment are its
    vectors of `unit.rows` x 1 (single weights where that is 1). `kept_of(length)` vectors of a segment stay, the last
    segment of a row may be shorter; of equal ones the lower index stays. Raises UsageError.
    """
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=Unit(rows=unit.rows), group_rows=group_rows)
    whole = columns // unit.columns * unit.columns
    kept = np.empty((len(grid.row_starts), columns), np.bool_)
    step = max(CHUNK_WEIGHTS // (columns * unit.rows), 1)
    for first in range(0, len(kept), step):
        scores = grid.scores_of(weights, slice(first, first + step), criterion=criterion)
        chunk = kept[first : first + step]
        if whole:
            segments = scores[:, :whole].reshape(len(scores), -1, unit.columns)
            chunk[:, :whole] = keep_best_of_last_axis(segments, kept_of(unit.columns)).reshape(len(scores), -1)
        if whole < columns:
            chunk[:, whole:] = keep_best_of_last_axis(scores[:, whole:], kept_of(columns - whole))
    return grid.expand(kept)


def keep_best_of_last_axis(scores: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Mark the `count` largest of each run along the last axis; of equal ones those with the lower index stay."""
    kept = np.zeros(scores.shape, np.bool_)
    order = np.argsort(-scores, axis=-1, kind="stable")
    np.put_along_axis(kept, order[..., :count], True, axis=-1)
    return kept
