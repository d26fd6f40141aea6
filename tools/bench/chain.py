"""A network as other engines know it: a chain of layers with plain arrays, from which their files are written.

Batch normalization is folded into the weights and dropout is gone, as every engine does it for inference. Padding of
pooling is spelt out per side, since darknet's `padding` is a total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Cost, Dropout, Softmax
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import UnsupportedLayerError
from clprune.geometry import Shape

FloatArray = npt.NDArray[np.float32]

#: Slope of darknet's `leaky` for negative values.
LEAKY_SLOPE = 0.1
ACTIVATIONS = ("linear", "relu", "leaky")


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvolutionLink:
    """weights float32 `[out, in / groups, size, size]`, bias `[out]`; `padding` on each side.

    `winograd`: output tile m of weights that are matrices U `[m + 2, m + 2, out, in]`; no other engine has such.
    """

    weights: FloatArray
    bias: FloatArray
    stride: int
    padding: int
    groups: int
    activation: str
    winograd: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ConnectedLink:
    """weights float32 `[outputs, inputs]` on the flattened input, bias `[outputs]`."""

    weights: FloatArray
    bias: FloatArray
    activation: str


@dataclass(frozen=True, kw_only=True)
class MaxPoolLink:
    """Square windows; `before` is the border above and on the left, `below` and `right` those at the ends."""

    size: int
    stride: int
    before: int
    below: int
    right: int


@dataclass(frozen=True, kw_only=True)
class AveragePoolLink:
    """The mean of each whole plane."""


@dataclass(frozen=True, kw_only=True)
class SoftmaxLink:
    """Over all values of one image."""


Link: TypeAlias = ConvolutionLink | ConnectedLink | MaxPoolLink | AveragePoolLink | SoftmaxLink


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """`input` is one image's shape, `batch` the images of one run, `outputs` the values of one answer."""

    input: Shape
    batch: int
    outputs: int
    links: tuple[Link, ...]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """`[N, C, H, W]`."""
        return self.batch, self.input.channels, self.input.height, self.input.width


def chain_of(network: Network, weights: Weights) -> Chain:
    """Raises UnsupportedLayerError for a network that is no chain of the layers above."""
    links = []
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if layer.sources != (layer.index - 1,):
            raise _unsupported(network, layer, "does not follow the layer before it")
        if not isinstance(layer, Dropout | Cost):
            links.append(_link(network, layer, values))
    return Chain(input=network.input, batch=network.batch, outputs=network.outputs, links=tuple(links))


def _link(network: Network, layer: Layer, values: LayerWeights | None) -> Link:
    if isinstance(layer, Convolutional | Connected):
        if layer.activation not in ACTIVATIONS or values is None:
            raise _unsupported(network, layer, f"has activation {layer.activation} or no weights")
        folded = fold_batch_norm(layer, values)
        if isinstance(layer, Connected):
            return ConnectedLink(weights=folded.weights, bias=folded.biases, activation=layer.activation)
        return ConvolutionLink(
            weights=folded.weights if folded.winograd else folded.weights.reshape(layer.weights_shape),
            bias=folded.biases,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
            activation=layer.activation,
            winograd=folded.winograd,
        )
    if isinstance(layer, MaxPool):
        before = layer.padding // 2
        reach_y = (layer.output.height - 1) * layer.stride + layer.size - before
        reach_x = (layer.output.width - 1) * layer.stride + layer.size - before
        below, right = max(0, reach_y - layer.input.height), max(0, reach_x - layer.input.width)
        return MaxPoolLink(size=layer.size, stride=layer.stride, before=before, below=below, right=right)
    if isinstance(layer, AvgPool):
        return AveragePoolLink()
    if isinstance(layer, Softmax) and layer.groups == 1 and layer.temperature == 1:
        return SoftmaxLink()
    raise _unsupported(network, layer, "cannot be handed to other engines")


def _unsupported(network: Network, layer: Layer, what: str) -> UnsupportedLayerError:
    kinds = "convolutional, connected, maxpool, avgpool, dropout and softmax layers"
    return UnsupportedLayerError(
        f"{network.path}:{layer.line}: {layer} {what}: expected a chain of {kinds} with {', '.join(ACTIVATIONS)}"
    )
