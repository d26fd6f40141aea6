"""The axes of a layer's weights in either domain, and the matrix that units are cut from."""

from __future__ import annotations

import math

from clprune.container.units import MatrixShape
from clprune.darknet.layers import Connected, Convolutional, Layer, Local
from clprune.errors import UsageError

#: Larger tiles lose all digits of float32: a file that names one is damaged. Our choice.
LARGEST_OUTPUT_TILE = 8


def weights_shape(layer: Layer, *, output_tile: int | None) -> tuple[int, ...]:
    """The axes of a layer's weights; in the Winograd domain `[m + 2, m + 2, filters, channels]`.

    Raises UsageError for a layer that F(m x m, 3 x 3) does not compute.
    """
    if output_tile is None:
        assert isinstance(layer, Convolutional | Connected | Local)
        return layer.weights_shape
    if not isinstance(layer, Convolutional) or (layer.size, layer.stride, layer.groups) != (3, 1, 1):
        raise UsageError("weights in the Winograd domain: expected a 3x3 convolution of stride 1 in one group")
    if not 1 <= output_tile <= LARGEST_OUTPUT_TILE:
        raise UsageError(f"an output tile of {output_tile}: expected 1 to {LARGEST_OUTPUT_TILE}")
    return (output_tile + 2, output_tile + 2, layer.filters, layer.weights_shape[1])


def matrix_shape(layer: Layer, *, output_tile: int | None) -> MatrixShape:
    """The matrix of a layer's weights: rows are output channels, times places (local) or matrices (Winograd).

    Raises UsageError for a layer that F(m x m, 3 x 3) does not compute.
    """
    shape = weights_shape(layer, output_tile=output_tile)
    if output_tile is not None:
        return MatrixShape(rows=math.prod(shape[:3]), columns=shape[3], group_rows=shape[2])
    if isinstance(layer, Local):
        return MatrixShape(rows=math.prod(shape[:2]), columns=math.prod(shape[2:]), group_rows=layer.filters)
    groups = layer.groups if isinstance(layer, Convolutional) else 1
    return MatrixShape(rows=shape[0], columns=math.prod(shape[1:]), group_rows=shape[0] // groups)
