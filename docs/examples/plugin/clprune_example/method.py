"""`random`: units that chance picks. What a criterion is worth shows beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clprune.pruning import Mask, MaskRequest, Method, Options, option
from clprune.pruning.criterion import Matrix
from clprune.pruning.unit import UnitGrid, keep_best, kept_count


@dataclass(frozen=True, kw_only=True)
class RandomOptions(Options):
    """Each field is an option of `clprune prune`."""

    draw: int = option(0, least=0, help="another number picks other units.")


def mask_random(weights: Matrix, request: MaskRequest) -> Mask:
    """bool `[M, K]` for weights `[M, K]`, True where a weight stays: units of `request.unit` are kept or go whole."""
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=request.unit, group_rows=request.group_rows)
    scores = np.random.default_rng(request.options.draw).random(grid.sizes.shape)
    return grid.expand(keep_best(scores, count=kept_count(scores.size, sparsity=request.sparsity)))


METHOD = Method(name="random", summary="units that chance picks", mask=mask_random, options=RandomOptions)
