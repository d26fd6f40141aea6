"""`unstructured`: single weights by magnitude (Han et al. 2015), the rival that loses least accuracy and least time."""

from __future__ import annotations

from dataclasses import replace

from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.threshold import mask_units
from clprune.pruning.unit import Mask
from clprune.unit import Unit

SINGLE_WEIGHT = Unit(rows=1, columns=1)


def mask_unstructured(weights: Matrix, request: MaskRequest) -> Mask:
    """Keep the layer's largest weights: bool `[M, K]`, True where a weight stays; `request.unit` does not matter.

    Raises UsageError.
    """
    return mask_units(weights, replace(request, unit=SINGLE_WEIGHT))


def _single_weight(request: UnitRequest) -> Unit:
    return SINGLE_WEIGHT


METHOD = Method(
    name="unstructured",
    summary="single weights by magnitude, one threshold per layer",
    mask=mask_unstructured,
    unit_for=_single_weight,
    has_unit_rows=False,
)
