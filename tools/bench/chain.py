"""A network as other engines know it: a chain of layers with plain arrays, from which their files are written.

Batch normalization is folded into the weights and dropout is gone, as every engine does it for inference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Cost, Dropout, Softmax
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import UnsupportedLayerError

#: Slope of darknet's `leaky` for negative values.
LEAKY_SLOPE = 0.1
ACTIVATIONS = ("linear", "relu", "leaky")

#: A layer of the kinds convolutional, connected, maxpool, avgpool and softmax, and what it has of weights and biases.
Link = tuple[Layer, LayerWeights | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """The links of a network in order."""

    network: Network
    links: tuple[Link, ...]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """`[N, C, H, W]`."""
        shape = self.network.input
        return self.network.batch, shape.channels, shape.height, shape.width


def chain_of(network: Network, weights: Weights) -> Chain:
    """Raises UnsupportedLayerError for a network that is no chain of the layers above."""
    links = []
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if layer.sources != (layer.index - 1,):
            raise _unsupported(network, layer, "does not follow the layer before it")
        if not isinstance(layer, Dropout | Cost):
            links.append(_link(network, layer, values))
    return Chain(network=network, links=tuple(links))


def borders(layer: MaxPool) -> tuple[int, int, int]:
    """(before, below, right): what a pool reads outside the image above and on the left, and at both ends.

    darknet's `padding` is the total of two sides.
    """
    before = layer.padding // 2
    reach_y = (layer.output.height - 1) * layer.stride + layer.size - before
    reach_x = (layer.output.width - 1) * layer.stride + layer.size - before
    return before, max(0, reach_y - layer.input.height), max(0, reach_x - layer.input.width)


def _link(network: Network, layer: Layer, values: LayerWeights | None) -> Link:
    if isinstance(layer, Convolutional | Connected):
        if layer.activation not in ACTIVATIONS or values is None or values.winograd is not None:
            raise _unsupported(network, layer, f"has activation {layer.activation}, or no weights of its own domain")
        folded = fold_batch_norm(layer, values)
        return layer, replace(folded, weights=folded.weights.reshape(layer.weights_shape))
    if isinstance(layer, MaxPool | AvgPool):
        return layer, None
    if isinstance(layer, Softmax) and layer.groups == 1 and layer.temperature == 1:
        return layer, None
    raise _unsupported(network, layer, "cannot be handed to other engines")


def _unsupported(network: Network, layer: Layer, what: str) -> UnsupportedLayerError:
    kinds = "convolutional, connected, maxpool, avgpool, dropout and softmax layers"
    return UnsupportedLayerError(
        f"{network.path}:{layer.line}: {layer} {what}: expected a chain of {kinds} with {', '.join(ACTIVATIONS)}"
    )
