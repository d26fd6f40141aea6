"""`bcbp`: columns of a tile, as many of them in every tile that runs at the same time. In three visible steps.

Known: Park et al., AAAI 2023 (10.1609/aaai.v37i8.26126), "Balanced Column-wise Block Pruning": the unit is a column
vector inside a tile of the GEMM's weight matrix (row vectors would be filter pruning in disguise), and all tiles that
run in parallel get the same ratio, because the fullest of them sets the time.
Our choice: a tile is the row block that shares one list of kept columns in our kernels (`tile_m` rows); the steps are
one threshold for the layer, the mean of what it leaves in each set of tiles that run together, and a new selection of
that many best columns per tile. Which tiles run together is a parameter: consecutive row blocks, by default all of
the layer's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.pruning.criterion import Matrix
from clprune.pruning.imbalance import Counts, imbalance, set_starts
from clprune.pruning.method import MaskRequest, Method
from clprune.pruning.options import Options, option
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count

Scores = NDArray[np.float64]
Kept = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class BcbpOptions(Options):
    """What is balanced with what."""

    parallel_tiles: int | None = option(
        None, least=1, help="balance among N neighbouring row blocks, those that run together. Default: all of a layer."
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class BalancedColumns:
    """A mask `[M, K]` and how it came about.

    `threshold`: the lowest score that step 1 kept. `kept_before` and `kept_after`: columns of each tile after step 1
    and after step 3, int64 `[tiles]`. `imbalance_before`, `imbalance_after`: see `clprune.pruning.imbalance`.
    """

    mask: Mask
    threshold: float
    kept_before: Counts
    kept_after: Counts
    imbalance_before: float
    imbalance_after: float


def prune_by_threshold(scores: Scores, *, sparsity: float) -> tuple[Kept, float]:
    """Step 1: one threshold over the layer. (bool `[tiles, columns]`, lowest score kept) for scores of that shape."""
    kept = keep_best(scores, count=kept_count(scores.size, sparsity=sparsity))
    return kept, float(scores[kept].min())


def recalibrate(kept: Kept, *, parallel_tiles: int | None = None) -> Counts:
    """Step 2: columns for each tile, int64 `[tiles]`: the mean of the tiles that run together, at least one.

    `kept` bool `[tiles, columns]` is what step 1 left. Halves are rounded up. Raises UsageError.
    """
    starts = set_starts(len(kept), parallel_tiles=parallel_tiles)
    sizes = np.diff(starts, append=len(kept))
    total = np.add.reduceat(np.count_nonzero(kept, axis=1), starts)
    mean = (2 * total + sizes) // (2 * sizes)
    return np.repeat(np.maximum(mean, 1), sizes).astype(np.int64)


def reselect(scores: Scores, counts: Counts) -> Kept:
    """Step 3: the `counts[tile]` best columns of each tile: bool `[tiles, columns]`; of equal ones the first stay."""
    return np.stack([keep_best(tile, count=int(count)) for tile, count in zip(scores, counts, strict=True)])


def balance_columns(weights: Matrix, request: MaskRequest) -> BalancedColumns:
    """All three steps for `weights` `[M, K]`, in units of `request.unit`. Raises UsageError."""
    rows, columns = weights.shape
    parallel_tiles = request.options.parallel_tiles
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=request.unit, group_rows=request.group_rows)
    scores = grid.scores(weights, criterion=request.criterion)
    kept, threshold = prune_by_threshold(scores, sparsity=request.sparsity)
    balanced = reselect(scores, recalibrate(kept, parallel_tiles=parallel_tiles))
    widths = np.diff(grid.column_starts, append=columns)
    before, after = (columns_of.astype(np.int64) @ widths for columns_of in (kept, balanced))
    return BalancedColumns(
        mask=grid.expand(balanced),
        threshold=threshold,
        kept_before=before,
        kept_after=after,
        imbalance_before=imbalance(before, parallel_tiles=parallel_tiles),
        imbalance_after=imbalance(after, parallel_tiles=parallel_tiles),
    )


def mask_bcbp(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep as many of the best columns in each tile that runs together: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. The share that goes is `sparsity` up to half a column per tile. Raises UsageError.
    """
    return balance_columns(weights, request).mask


def imbalance_of(weights: Matrix, counts: Counts, request: MaskRequest) -> tuple[float, float]:
    """How unevenly sets of tiles are loaded, and how they were after step 1."""
    after = imbalance(counts, parallel_tiles=request.options.parallel_tiles)
    return after, balance_columns(weights, request).imbalance_before


METHOD = Method(
    name="bcbp",
    summary="columns of a tile, as many in each tile that runs at the same time",
    mask=mask_bcbp,
    options=BcbpOptions,
    imbalance=imbalance_of,
)
