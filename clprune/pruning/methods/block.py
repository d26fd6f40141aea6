"""`block`: b x b blocks of the weight matrix by their L2 norm, the coarse rival that every kernel can skip.

Our choice: b is the rows of the tuned tile, so that whole columns of a row block go b at a time; a unit with more than
one column is taken as it is, square or not. One threshold over the layer decides.
"""

from __future__ import annotations

from clprune.pruning.method import Method, UnitRequest
from clprune.pruning.threshold import mask_units
from clprune.unit import Unit


def _square(request: UnitRequest) -> Unit:
    rows = request.tile.rows
    return request.tile if request.tile.columns > 1 else Unit(rows=rows, columns=min(rows, request.columns))


METHOD = Method(
    name="block",
    summary="b x b blocks by L2 norm, b the tile's rows; one threshold per layer",
    mask=mask_units,
    unit_for=_square,
    criterion="l2",
)
