"""The axes of a layer's weights in either domain, and the matrix that units are cut from."""

from __future__ import annotations

import math

from clprune.container.units import MatrixShape
from clprune.darknet.kinds.base import WeightedLayer
from clprune.errors import UsageError

#: Larger tiles lose all digits of float32: a file that names one is damaged. Our choice.
LARGEST_OUTPUT_TILE = 8


def weights_shape(layer: WeightedLayer, *, output_tile: int | None) -> tuple[int, ...]:
    """The axes of a layer's weights; in the Winograd domain `[m + 2, m + 2, filters, channels]`.

    Raises UsageError for a layer that F(m x m, 3 x 3) does not compute.
    """
    if output_tile is None:
        return layer.weights_shape
    if not layer.has_winograd_domain:
        raise UsageError("weights in the Winograd domain: expected a 3x3 convolution of stride 1 in one group")
    if not 1 <= output_tile <= LARGEST_OUTPUT_TILE:
        raise UsageError(f"an output tile of {output_tile}: expected 1 to {LARGEST_OUTPUT_TILE}")
    return (output_tile + 2, output_tile + 2, *layer.weights_shape[:2])


def matrix_shape(layer: WeightedLayer, *, output_tile: int | None) -> MatrixShape:
    """The matrix of a layer's weights: rows are output channels, times places (local) or matrices (Winograd).

    Raises UsageError for a layer that F(m x m, 3 x 3) does not compute.
    """
    shape = weights_shape(layer, output_tile=output_tile)
    columns = layer.columns if output_tile is None else shape[-1]
    return MatrixShape(rows=math.prod(shape) // columns, columns=columns, group_rows=layer.group_rows)
