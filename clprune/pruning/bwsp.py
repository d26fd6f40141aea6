"""`bwsp`: regular groups of weights in the Winograd domain, the same ratio in every matrix.

Known: WINS, ICCV 2025 (10.1109/ICCV51701.2025.02087): as `wsp`, but every matrix U_xi loses the same ratio, since the
longest of the GEMMs that run together sets the layer's time.
Our choice: each list of a kernel, that is each row block of `tile_m` rows in each U_xi, keeps the same number of
columns, which balances work-groups as well as matrices (`balance` "list"); with "matrix" only the matrices are equal.
"""

from __future__ import annotations

import numpy as np

from clprune.errors import UsageError
from clprune.pruning.criterion import Matrix
from clprune.pruning.method import BALANCES, MaskOptions, Method
from clprune.pruning.unit import Mask, UnitGrid, keep_best, kept_count


def mask_bwsp(weights: Matrix, options: MaskOptions) -> Mask:
    """Keep as many of the best units in each list or matrix: bool `[alpha^2 * out, in]`, True where a weight stays.

    `weights` are U's matrices below each other, `options.group_rows` the rows of one (None: one matrix). Whole rows,
    which have no list of columns, are balanced among matrices. Raises UsageError.
    """
    if options.balance not in BALANCES:
        raise UsageError(f"balance {options.balance!r}: expected one of {', '.join(BALANCES)}")
    rows, columns = weights.shape
    grid = UnitGrid.cut(rows=rows, columns=columns, unit=options.unit, group_rows=options.group_rows)
    scores = grid.scores(weights, criterion=options.criterion)
    has_lists = scores.shape[1] > 1 and options.balance == "list"
    sets = len(scores) if has_lists else rows // (options.group_rows or rows)
    shared = scores.reshape(sets, -1)
    count = kept_count(shared.shape[1], sparsity=options.sparsity)
    kept = np.stack([keep_best(one, count=count) for one in shared])
    return grid.expand(kept.reshape(scores.shape))


METHOD = Method(
    name="bwsp",
    summary="columns of a tile in the Winograd domain, as many in every matrix and row block",
    mask=mask_bwsp,
    in_winograd_domain=True,
)
