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

from clprune.darknet.values import LayerWeights
from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, Method, UnitRequest, cleared
from clprune.pruning.methods import workgroup
from clprune.pruning.refit import refit
from clprune.pruning.threshold import mask_units
from clprune.pruning.unit import Mask
from clprune.pruning.winograd import WinogradOptions, comparable_magnitudes
from clprune.unit import Unit


def mask_wsp(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep the layer's most important units: bool `[alpha^2 * out, in]`, True where a weight stays.

    `weights` are U's matrices below each other, `request.group_rows` the rows of one. Without `request.winograd` they
    are compared by magnitude alone. Raises UsageError.
    """
    scaled = comparable_magnitudes(weights, winograd=request.winograd, group_rows=request.group_rows)
    return mask_units(scaled, request)


def unit_for(request: UnitRequest) -> Unit:
    """The tile's unit, a whole column of a matrix or a whole row, as `winograd_unit` says."""
    units = {"tile": request.tile, "column": Unit(rows=request.rows), "row": Unit(rows=1, columns=request.columns)}
    return units[request.options.winograd_unit]


def remove(values: LayerWeights, mask: Mask, options: WinogradOptions) -> LayerWeights:
    """Zeros where the mask says so, and what stays fitted to what goes unless `refit` is off."""
    return refit(values, mask) if options.refit else cleared(values, mask)


METHOD = Method(
    name="wsp",
    summary="columns of a tile in the Winograd domain, one threshold per layer",
    mask=mask_wsp,
    options=WinogradOptions,
    unit_for=unit_for,
    remove=remove,
    elsewhere=workgroup.METHOD,
)
