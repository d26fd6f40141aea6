"""`nm`: N of every M neighbouring weights of a row stay (2:4 and its kin).

Known: N:M sparsity is what some GPUs' matrix units execute at 2:4 (Mishra et al., arXiv 2104.08378); Zhou et al., ICLR
2021 (arXiv 2102.04010), train other N and M. Our choice: M is the shortest of 4, 8, 16 and 32 whose N/M comes nearest
to the wanted density; a unit with several columns sets M, with several rows the rows that share one choice. The last
segment of a row is seen as hardware would: filled with zeros, so that up to N of its weights stay.
"""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.methods.balanced import column_of
from clprune.pruning.segments import mask_segments
from clprune.pruning.unit import Mask, kept_count
from clprune.unit import Unit

LENGTHS = (4, 8, 16, 32)


def mask_nm(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep N of every M = `request.unit.columns` weights of a row: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. N is `sparsity` rounded to whole weights of a segment, at least 1. Raises UsageError.
    """
    kept = kept_count(request.unit.columns, sparsity=request.sparsity)
    return mask_segments(
        weights,
        unit=request.unit,
        kept_of=lambda length: min(kept, length),
        criterion=request.criterion,
        group_rows=request.group_rows,
    )


def _pattern(request: UnitRequest) -> Unit:
    if request.tile.columns > 1:
        return request.tile

    def miss(length: int) -> float:
        return abs(kept_count(length, sparsity=request.sparsity) / length - (1 - request.sparsity))

    return Unit(rows=1, columns=min(LENGTHS, key=lambda length: (round(miss(length), 9), length)))


METHOD = Method(
    name="nm",
    summary="N of every M neighbouring weights of a row",
    mask=mask_nm,
    unit_for=_pattern,
    removed_unit=column_of,
    has_unit_rows=False,
)
