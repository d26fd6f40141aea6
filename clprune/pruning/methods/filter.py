"""`filter`: whole output channels; the network really shrinks (`clprune.pruning.shrink`).

Known: Li et al. 2016 (arXiv 1608.08710) rank a layer's filters by their L1 norm, remove the lowest and with them the
next layer's inputs, and retrain. In residual blocks they leave layers whose channels are added to others' alone.
Channels that are added or multiplied go together, as in DepGraph (Fang et al. 2023, arXiv 2301.12900), judged by the
norm of all rows that make them; depthwise convolutions between lose them, too.
The share that goes is counted in filters: as the next layer loses its inputs too, a layer between two pruned ones keeps
the square of that share of its weights.
Our choice: in a grouped convolution every group loses the same number of filters, since groups must stay of one size.
"""

from __future__ import annotations

import numpy as np

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count
from clprune.unit import Unit


def mask_filter(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep the rows of largest norm, as many in each group: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`; `request.unit` does not matter. Raises UsageError.
    """
    rows, columns = weights.shape
    unit = Unit(rows=1, columns=columns)
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=unit, group_rows=request.group_rows)
    scores = grid.scores(weights, criterion=request.criterion).reshape(-1, request.group_rows or rows)
    count = kept_count(scores.shape[1], sparsity=request.sparsity)
    kept = np.concatenate([keep_best(of_group, count=count) for of_group in scores])
    return grid.expand(kept.reshape(-1, 1))


def _whole_row(request: UnitRequest) -> Unit:
    return Unit(rows=1, columns=request.columns)


METHOD = Method(
    name="filter",
    summary="whole output channels by norm; the network becomes smaller",
    mask=mask_filter,
    unit_for=_whole_row,
    removes_channels=True,
)
