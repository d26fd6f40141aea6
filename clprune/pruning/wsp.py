"""`wsp`: regular groups of weights in the Winograd domain, one threshold per layer.

Known: WINS, ICCV 2025 (10.1109/ICCV51701.2025.02087; as an ICLR 2024 submission WSP, BWSP and ABWSP), prunes regular
groups of weights in the Winograd domain, so that the batched GEMM over its matrices U_xi skips them; second-hand: whole
rows (o, xi) or whole columns (c, xi). WSP does not balance the matrices: the longest of the GEMMs that run together
sets the layer's time.
Our choice: the unit is a column per `tile_m` rows, one input channel in the rows of the kernel's tile of one U_xi
(whole columns and whole rows are units too: `--winograd-unit`), and units of different matrices are compared by what
they add to the output (`clprune.pruning.winograd.sensitivities`).
"""

from __future__ import annotations

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskOptions, Method
from clprune.pruning.threshold import mask_units
from clprune.pruning.unit import Mask
from clprune.pruning.winograd import comparable_magnitudes


def mask_wsp(weights: Matrix, options: MaskOptions) -> Mask:
    """Keep the layer's most important units: bool `[alpha^2 * out, in]`, True where a weight stays.

    `weights` are U's matrices below each other, `options.group_rows` the rows of one. Without `options.winograd` they
    are compared by magnitude alone. Raises UsageError.
    """
    scaled = comparable_magnitudes(weights, winograd=options.winograd, group_rows=options.group_rows)
    return mask_units(scaled, options)


METHOD = Method(
    name="wsp",
    summary="columns of a tile in the Winograd domain, one threshold per layer",
    mask=mask_wsp,
    in_winograd_domain=True,
)
