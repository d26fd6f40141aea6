"""`bwsp`: regular groups of weights in the Winograd domain, the same ratio in every matrix.

Known: WINS, ICCV 2025 (10.1109/ICCV51701.2025.02087): as `wsp`, but every matrix U_xi loses the same ratio, since the
longest of the GEMMs that run together sets the layer's time.
Our choice: each list of a kernel, that is each row block of `tile_m` rows in each U_xi, keeps the same number of
columns, which balances work-groups as well as matrices (`balance` "list"); with "matrix" only the matrices are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest
from clprune.pruning.methods import wsp
from clprune.pruning.options import option
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count
from clprune.pruning.winograd import WinogradOptions


@dataclass(frozen=True, kw_only=True)
class BwspOptions(WinogradOptions):
    """Those of `wsp`, and what is balanced."""

    balance: str = option(
        "list",
        choices=("list", "matrix"),
        help="keep as much in every row block of every matrix, or only in every matrix.",
    )


def mask_bwsp(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep as many of the best units in each list or matrix: bool `[alpha^2 * out, in]`, True where a weight stays.

    `weights` are U's matrices below each other, `request.group_rows` the rows of one (None: one matrix). Whole rows,
    which have no list of columns, are balanced among matrices. Raises UsageError.
    """
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=request.unit, group_rows=request.group_rows)
    scores = grid.scores(weights, criterion=request.criterion)
    has_lists = scores.shape[1] > 1 and request.options.balance == "list"
    sets = len(scores) if has_lists else rows // (request.group_rows or rows)
    shared = scores.reshape(sets, -1)
    count = kept_count(shared.shape[1], sparsity=request.sparsity)
    kept = np.stack([keep_best(one, count=count) for one in shared])
    return grid.expand(kept.reshape(scores.shape))


METHOD = replace(
    wsp.METHOD,
    name="bwsp",
    summary="columns of a tile in the Winograd domain, as many in every matrix and row block",
    mask=mask_bwsp,
    options=BwspOptions,
)
