"""`workgroup`: the tile rows of one work-group x 1 column; what is removed is neither loaded nor multiplied.

Choi & Yang, Euro-Par 2021 (10.1007/978-3-030-85665-6_14), prune the finest unit that the GPU's hierarchy of
processing elements and memory can safely skip. That a work-group's unit is its tile's rows x 1 column of the GEMM view
is our reading of it. Nothing balances the row blocks: one threshold over the layer decides.
"""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskOptions, Method
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count
from clprune.tile import Unit


def mask_workgroup(weights: Matrix, options: MaskOptions) -> Mask:
    """Keep the layer's most important units: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. Partial units at the edges count as one unit each. Raises UsageError.
    """
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=options.unit, group_rows=options.group_rows)
    scores = grid.scores(weights, criterion=options.criterion)
    return grid.expand(keep_best(scores, count=kept_count(grid.units, sparsity=options.sparsity)))


def _same_unit(unit: Unit) -> Unit:
    return unit


METHOD = Method(
    name="workgroup",
    summary="rows of a work-group's tile x 1 column, one threshold per layer",
    mask=mask_workgroup,
    unit_for=_same_unit,
)
