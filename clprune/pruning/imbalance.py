"""How evenly work is spread over the row blocks that a device computes at the same time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.pruning.unit import Mask, UnitGrid
from clprune.unit import Unit
from clprune.winograd.transforms import transform_matrices

Counts = NDArray[np.int64]


def kept_columns(mask: Mask, *, unit_rows: int, group_rows: int | None = None) -> Counts:
    """Columns that each row block of `unit_rows` rows has to multiply: int64 `[row blocks]`.

    `mask` bool `[M, K]`, True where a weight stays; a column counts when any row of the block needs it.
    """
    rows, columns = mask.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=Unit(rows=unit_rows), group_rows=group_rows)
    counts: Counts = np.count_nonzero(np.logical_or.reduceat(mask, grid.row_starts, axis=0), axis=1).astype(np.int64)
    return counts


def set_starts(tiles: int, *, parallel_tiles: int | None) -> NDArray[np.int64]:
    """Index of the first tile of each set of `parallel_tiles` consecutive ones (None: all tiles are one set).

    Raises UsageError for a set of less than one tile.
    """
    if parallel_tiles is not None and parallel_tiles < 1:
        raise UsageError(f"{parallel_tiles} tiles that run in parallel: expected at least 1")
    return np.arange(0, tiles, parallel_tiles or tiles, dtype=np.int64)


def imbalance(counts: Counts, *, parallel_tiles: int | None = None) -> float:
    """How many times longer the layer takes than with the same work spread evenly; 1 is balanced.

    `counts` as `kept_columns` gives them. The tiles of a set of `parallel_tiles` run together (None: all of the
    layer), so that each set takes as long as its fullest tile: the sum of those maxima over the sum of the means.
    """
    starts = set_starts(len(counts), parallel_tiles=parallel_tiles)
    longest = np.maximum.reduceat(counts, starts).astype(np.float64)
    sizes = np.diff(starts, append=len(counts))
    mean = np.add.reduceat(counts, starts) / sizes
    return float(longest.sum() / mean.sum()) if mean.sum() > 0 else 1.0


def matrix_imbalance(counts: Counts, *, winograd: int | None) -> float | None:
    """The longest over the mean work of the matrices U_xi, which batched GEMMs multiply side by side; 1 is balanced.

    `counts` as `kept_columns` gives them for a layer in the Winograd domain of F(m x m, 3 x 3), `winograd` m; None for
    a layer in the spatial domain.
    """
    if winograd is None:
        return None
    matrices = counts.reshape(transform_matrices(winograd).matrices, -1).sum(axis=1)
    return imbalance(matrices)
