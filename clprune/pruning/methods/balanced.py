"""`balanced`: each row cut into equal segments, and the same number of largest weights kept in each.

Known: Yao et al., AAAI 2019 (arXiv 1811.00206), so that all threads of a GPU that take a segment each have the same
work. Our choice: segments of 32 weights, the last one of a row shorter where K asks for it and pruned at the same
share; it keeps at least one weight. A unit with several columns sets the segment's length, with several rows the rows
that share one choice: 8x32 keeps the best 8 x 1 columns of every 32.
"""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.segments import mask_segments
from clprune.pruning.unit import Mask, kept_count
from clprune.unit import Unit

SEGMENT = Unit(rows=1, columns=32)


def mask_balanced(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep the same share of every segment of `request.unit.columns`: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`. Raises UsageError.
    """
    return mask_segments(
        weights,
        unit=request.unit,
        kept_of=lambda length: kept_count(length, sparsity=request.sparsity),
        criterion=request.criterion,
        group_rows=request.group_rows,
    )


def _segment(request: UnitRequest) -> Unit:
    return request.tile if request.tile.columns > 1 else SEGMENT


def column_of(unit: Unit) -> Unit:
    """What goes together in a segment: one column of its rows."""
    return Unit(rows=unit.rows)


METHOD = Method(
    name="balanced",
    summary="the same number of largest weights in each segment of a row",
    mask=mask_balanced,
    unit_for=_segment,
    removed_unit=column_of,
    has_unit_rows=False,
)
