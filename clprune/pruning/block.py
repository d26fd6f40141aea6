"""`block`: b x b blocks of the weight matrix by their L2 norm, the coarse rival that every kernel can skip.

Our choice: b is the rows of the tuned tile, so that whole columns of a row block go b at a time; a unit with more than
one column is taken as it is, square or not. One threshold over the layer decides.
"""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskOptions, Method, UnitRequest
from clprune.pruning.threshold import mask_units
from clprune.pruning.unit import Mask
from clprune.unit import Unit


def mask_block(weights: Matrix, options: MaskOptions) -> Mask:
    """Keep the layer's most important blocks of `options.unit`: bool `[M, K]`, True where a weight stays.

    `weights` `[M, K]`; blocks at the right and lower edge may be partial. Raises UsageError.
    """
    return mask_units(weights, options)


def _square(request: UnitRequest) -> Unit:
    rows = request.tile.rows
    return request.tile if request.tile.columns > 1 else Unit(rows=rows, columns=min(rows, request.columns))


METHOD = Method(
    name="block",
    summary="b x b blocks by L2 norm, b the tile's rows; one threshold per layer",
    mask=mask_block,
    unit_for=_square,
    criterion="l2",
)
