"""Networks without the output channels that pruning removed: a smaller cfg and smaller weights.

A channel that goes takes along its row of weights, its bias and batch normalization, the channels of other layers that
it is added to or multiplied by, and the inputs of every layer that read it. Channels that a convolution in groups or
the network's answer needs cannot go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.network import Network
from clprune.darknet.rewrite import resize_cfg
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.errors import UsageError
from clprune.pruning.channels import (
    Channels,
    by_input,
    change_outputs,
    changes,
    channels_taken,
    input_channels,
    select_channels,
)
from clprune.pruning.unit import Mask


@dataclass(frozen=True, kw_only=True, eq=False)
class Shrunk:
    """A smaller network: `cfg_text` to write, `network` as it would be loaded from that (its `path` and lines are the
    original's), its `weights`, and by layer index the channels of the original that are `kept` (int64, rising).
    """

    cfg_text: str
    network: Network
    weights: Weights
    kept: Mapping[int, Channels]


def channels_left(masks: Mapping[int, Mask]) -> dict[int, Channels]:
    """The channels that keep any weight, by layer index, of the layers that lose some.

    `masks` bool `[out_channels, K]`. Raises UsageError where a layer would lose all.
    """
    left = {}
    for index, mask in sorted(masks.items()):
        kept = np.flatnonzero(mask.any(axis=1)).astype(np.int64)
        if not len(kept):
            raise UsageError(f"the mask of layer {index} removes every channel: expected one that keeps some")
        if len(kept) < len(mask):
            left[index] = kept
    return left


def shrink_network(network: Network, weights: Weights, masks: Mapping[int, Mask]) -> Shrunk:
    """Remove every output channel whose mask keeps no weight, and all that belonged to it.

    `masks` bool `[out_channels, K]` by layer index; a mask that removes parts of a row leaves the channel, with zeros.
    The answer is that of the original with these channels cleared (`clear_channels`). Raises UsageError where a
    channel cannot go, and CfgError when the cfg cannot be read.
    """
    kept = channels_left(masks)
    smaller = select_channels(network, weights, kept)
    taken = channels_taken(network, kept)
    counts = {
        layer.index: len(taken[layer.index])
        for layer in network.layers
        if isinstance(layer, MatrixLayer) and len(taken[layer.index]) < layer.output.channels
    }
    return Shrunk(
        cfg_text=resize_cfg(network.path, counts), network=resize_network(network, counts), weights=smaller, kept=kept
    )


def clear_channels(network: Network, weights: Weights, masks: Mapping[int, Mask]) -> Weights:
    """The original network's weights with zeros in place of what `shrink_network` would take away.

    Weights, bias and batch normalization of the removed channels become zero (the variance 1), so that the channels
    are zero after any activation that maps 0 to 0. Raises UsageError where a channel cannot go.
    """
    layers = list(weights.layers)
    taken = channels_taken(network, channels_left(masks))
    for layer in network.layers:
        values = layers[layer.index]
        if values is not None and changes(layer, taken):
            layers[layer.index] = _cleared(values, taken[layer.index])
    return replace(weights, layers=tuple(layers))


def expand_weights(network: Network, shrunk: Weights, kept: Mapping[int, Channels]) -> Weights:
    """The reverse of `shrink_network`: weights of `network` with zeros for the channels that are not `kept`.

    `shrunk` are the smaller network's weights. What the readers' inputs of removed channels were is not known any
    more: they are zero too.
    """
    taken = channels_taken(network, kept)
    layers = list(shrunk.layers)
    for layer in network.layers:
        values, read = layers[layer.index], input_channels(network, layer, taken)
        if values is not None and changes(layer, taken):
            values = _spread_outputs(values, taken[layer.index], total=layer.output.channels)
        if values is not None and read is not None:
            values = _spread_inputs(layer, values, read)
        layers[layer.index] = values
    return replace(shrunk, layers=tuple(layers))


def resize_network(network: Network, channels: Mapping[int, int]) -> Network:
    """`network` with so many output channels of the given layers, as its resized cfg would be read.

    Only for layers whose channels may change (`channel_groups` without obstacle), tied ones and depthwise ones alike.
    """
    layers: list[Layer] = []
    for layer in network.layers:
        shapes = [layers[source].output if source >= 0 else network.input for source in layer.sources]
        if isinstance(layer, MatrixLayer) and layer.index in channels:
            layer = layer.with_channels(channels[layer.index])  # noqa: PLW2901  # the layer as it will be
        resized = replace(layer, input=shapes[0])
        layers.append(replace(resized, output=resized.output_shape(shapes)))
    return replace(network, layers=tuple(layers))


def _cleared(values: LayerWeights, kept: Channels) -> LayerWeights:
    """Zeros (variance: ones) for the channels that are not `kept`."""
    selected = change_outputs(values, lambda array, fill: array[kept])
    return _spread_outputs(selected, kept, total=len(values.biases))


def _spread_outputs(values: LayerWeights, kept: Channels, *, total: int) -> LayerWeights:
    """`values` of the channels `kept`, put back to their places among `total` channels."""

    def spread(array: FloatArray, fill: float) -> FloatArray:
        whole = np.full((total, *array.shape[1:]), fill, np.float32)
        whole[kept] = array
        return whole

    return change_outputs(values, spread)


def _spread_inputs(layer: Layer, values: LayerWeights, kept: Channels) -> LayerWeights:
    """Weights of the input channels `kept`, put back to their places among those of `layer`."""
    taken = by_input(layer, values.weights)
    whole = np.zeros((len(taken), layer.input.channels, taken.shape[2]), np.float32)
    whole[:, kept] = taken
    return replace(values, weights=whole.reshape(len(taken), -1, *values.weights.shape[2:]), coding=None)
