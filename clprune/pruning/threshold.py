"""One threshold over a layer: its most important units stay, wherever they lie."""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskOptions
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count


def mask_units(weights: Matrix, options: MaskOptions) -> Mask:
    """Keep the layer's most important units: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. Partial units at the edges count as one unit each; of equal units those with the lower index
    (row block first) stay. Raises UsageError.
    """
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=options.unit, group_rows=options.group_rows)
    scores = grid.scores(weights, criterion=options.criterion)
    return grid.expand(keep_best(scores, count=kept_count(grid.units, sparsity=options.sparsity)))
