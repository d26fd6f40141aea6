"""One threshold over a layer: its most important units stay, wherever they lie."""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count


def mask_units(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep the layer's most important units: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. Partial units at the edges count as one unit each; of equal units those with the lower index
    (row block first) stay. Raises UsageError.
    """
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=request.unit, group_rows=request.group_rows)
    scores = grid.scores(weights, criterion=request.criterion)
    return grid.expand(keep_best(scores, count=kept_count(grid.units, sparsity=request.sparsity)))
