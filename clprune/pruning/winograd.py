"""Weights in the Winograd domain, as methods of that domain prune them.

A 3x3 convolution of stride 1 may keep its weights as U = G g G^T, `[alpha, alpha, out, in]` with alpha = m + 2 for
F(m x m, 3 x 3) (Lavin & Gray, arXiv 1509.09308). Its matrices U_xi stand below each other in one weight matrix
`[alpha^2 * out, in]`: a unit's row blocks begin anew in each U_xi, as those of a grouped convolution do in each group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds.base import Layer
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import UsageError
from clprune.pruning.criterion import Matrix
from clprune.pruning.options import Options, option
from clprune.winograd.transforms import transform_filters, transform_matrices

#: Output tiles m that weights may be pruned for.
OUTPUT_TILES = (2, 4)

#: F(2x2, 3x3), as in the paper. F(4x4, 3x3) multiplies 1.8 times less still, but the values of a kernel's transform
#: there lean on each other far more, and pruning some loses far more accuracy before and after a short retraining.
DEFAULT_OUTPUT_TILE = 2

#: Between activations of neighbouring pixels, falling off geometrically with distance: smooth inputs use the matrices
#: U_xi unevenly. Our choice, by accuracy before retraining (0, 0.3, 0.6 and 0.85 were tried on digits-on-photos).
NEIGHBOUR_CORRELATION = 0.3


@dataclass(frozen=True, kw_only=True)
class WinogradOptions(Options):
    """Those of a method that prunes in the Winograd domain."""

    winograd: int = option(
        DEFAULT_OUTPUT_TILE, choices=OUTPUT_TILES, help="prune in the domain of F(MxM, 3x3) for an output tile of M."
    )
    winograd_unit: str = option(
        "tile", choices=("tile", "column", "row"),
        help="a column in the rows of --unit, a whole one, or a whole row of a matrix.",
    )  # fmt: skip
    refit: bool = option(True, help="fit what stays of a filter to what goes, without images.")


def output_tile(layer: Layer, *, winograd: int) -> int | None:
    """The tile m of `layer` where `winograd` is asked for, None where it has no Winograd domain.

    An output of at most 2x2 is one tile of F(2x2, 3x3) already: a larger one would only add multiplications. Our
    choice.
    """
    if not layer.has_winograd_domain:
        return None
    return min(winograd, 2) if max(layer.output.height, layer.output.width) <= 2 else winograd


def to_winograd_domain(network: Network, weights: Weights, tiles: Mapping[int, int]) -> Weights:
    """The same network with the layers of `tiles` (layer index -> m) in the Winograd domain, as float32.

    Layers that are there already stay. Raises UsageError for a layer that is there with another m, one that cannot be
    transformed, and one without values.
    """
    layers = list(weights.layers)
    for index, winograd in tiles.items():
        values = layers[index]
        if values is None:
            raise UsageError(f"layer {index} has no weights to transform: expected a file that holds them")
        layers[index] = transformed(network.layers[index], values, winograd=winograd)
    return replace(weights, layers=tuple(layers))


def transformed(layer: Layer, values: LayerWeights, *, winograd: int) -> LayerWeights:
    """`to_winograd_domain` of one layer: `values` with weights `[m + 2, m + 2, out, in]`. Raises UsageError."""
    if not layer.has_winograd_domain:
        raise UsageError(f"{layer}: expected a 3x3 convolution of stride 1 without groups")
    if values.winograd is None:
        u = transform_filters(values.weights, winograd).astype(np.float32)
        return replace(values, weights=u, winograd=winograd, coding=None)
    if values.winograd != winograd:
        raise UsageError(
            f"{layer} holds weights of F({values.winograd}x{values.winograd}, 3x3), which cannot become those of "
            f"F({winograd}x{winograd}, 3x3): expected --winograd {values.winograd}, or weights in the spatial domain"
        )
    return values


def output_metric(winograd: int) -> NDArray[np.float64]:
    """How values of U add to the layer's output together: float64 `[alpha^2, alpha^2]`, positive definite.

    For values u `[alpha^2]` of one filter and input channel, `u @ metric @ u` is the mean square, summed over the tile,
    of A^T [u . (B^T d B)] A for input tiles d of unit variance whose neighbouring pixels correlate by
    `NEIGHBOUR_CORRELATION`. Rows and columns of a tile are alike, so that it is a Kronecker square.
    """
    transforms = transform_matrices(winograd)
    distance = np.abs(np.subtract.outer(np.arange(transforms.input_tile), np.arange(transforms.input_tile)))
    covariance = NEIGHBOUR_CORRELATION**distance
    a, b = transforms.output_array, transforms.input_array
    one_side = (a.T @ a) * (b @ covariance @ b.T)
    product: NDArray[np.float64] = np.kron(one_side, one_side)
    return product


def sensitivities(winograd: int) -> NDArray[np.float64]:
    """What a value of U_xi adds to the layer's output by itself: float64 `[alpha, alpha]`.

    The root of the diagonal of `output_metric`: an output tile changes by so much (root of the sum of mean squares)
    when a weight of U_xi changes by one. The transforms scale their rows very differently, so that magnitudes of U
    alone say little across matrices. Our choice.
    """
    alpha = transform_matrices(winograd).input_tile
    roots: NDArray[np.float64] = np.sqrt(output_metric(winograd).diagonal()).reshape(alpha, alpha)
    return roots


def comparable_magnitudes(weights: Matrix, *, winograd: int | None, group_rows: int | None) -> Matrix:
    """`weights` `[alpha^2 * out, in]` times the sensitivity of their matrix; spatial weights (None) as they are.

    `group_rows` are the rows of one U_xi. Raises UsageError when they do not make alpha^2 matrices.
    """
    if winograd is None:
        return weights
    factors = sensitivities(winograd).reshape(-1)
    if group_rows is None or len(weights) != len(factors) * group_rows:
        raise UsageError(
            f"{len(weights)} rows in groups of {group_rows}: expected {len(factors)} groups, the matrices of "
            f"F({winograd}x{winograd}, 3x3)"
        )
    scaled: Matrix = weights * np.repeat(factors, group_rows)[:, None].astype(weights.dtype)
    return scaled
