"""Where a layer's output channels go: what must change with them when they are reordered or removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.network import Network
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.errors import UsageError

Channels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ChannelFlow:
    """The way of the output channels of layer `producer`, by layer index.

    `carriers` pass them on one by one (those with arrays, `[batchnorm]`, have an entry per channel), `readers` are
    the convolutions and connected layers that mix them: each has their weights as inputs. `obstacle` says why the
    channels must stay as they are; None where they need not.
    """

    producer: int
    carriers: tuple[int, ...]
    readers: tuple[int, ...]
    obstacle: str | None


def channel_flow(network: Network, producer: int) -> ChannelFlow:
    """Follow the output channels of a convolution or connected layer through the network."""
    carriers: list[int] = []
    readers: list[int] = []
    obstacle = _own_obstacle(network, network.layers[producer])
    waiting = [producer]
    while waiting and obstacle is None:
        index = waiting.pop()
        for layer in network.layers:
            if index not in layer.sources:
                continue
            obstacle = obstacle or _obstacle(network, layer)
            if isinstance(layer, MatrixLayer):
                readers.append(layer.index)
            else:
                carriers.append(layer.index)
                waiting.append(layer.index)
    return ChannelFlow(
        producer=producer, carriers=tuple(sorted(carriers)), readers=tuple(sorted(readers)), obstacle=obstacle
    )


def select_channels(network: Network, weights: Weights, chosen: Mapping[int, Channels]) -> Weights:
    """The weights with the output channels of each layer of `chosen` taken in that order, here and where they are read.

    `chosen` maps layer index -> channels (int64; a permutation reorders, a selection removes the others). The new
    values fit a network with as many channels. Raises UsageError where a layer's channels cannot be changed.
    """
    layers = list(weights.layers)
    for producer, channels in sorted(chosen.items()):
        flow = channel_flow(network, producer)
        if flow.obstacle is not None:
            raise UsageError(f"{network.path}: the channels of {network.layers[producer]} must stay: {flow.obstacle}")
        changed = (producer, *(index for index in flow.carriers if network.layers[index].arrays))
        for index in changed:
            values = _values(network, layers, index)
            layers[index] = change_outputs(values, partial(_take, channels=channels))
        for index in flow.readers:
            layers[index] = _select_inputs(network.layers[index], _values(network, layers, index), channels)
    return replace(weights, layers=tuple(layers))


def _own_obstacle(network: Network, layer: Layer) -> str | None:
    if layer in network.output_layers:
        return "they are the network's answer"
    if isinstance(layer, MatrixLayer) and layer.is_grouped:
        return "its channels lie in groups"
    return None


def _obstacle(network: Network, layer: Layer) -> str | None:
    """Why channels that reach `layer` must stay as they are."""
    if isinstance(layer, MatrixLayer):
        return f"{layer} reads them in groups" if layer.is_grouped else None
    if not layer.carries_channels:
        return f"they reach {layer}"
    if layer in network.output_layers:
        return f"they are the network's answer, by way of {layer}"
    return None


def _values(network: Network, layers: list[LayerWeights | None], index: int) -> LayerWeights:
    values = layers[index]
    if values is None:
        raise UsageError(f"{network.path}: {network.layers[index]} has no weights: expected a file that holds them")
    return values


def change_outputs(values: LayerWeights, change: Callable[[FloatArray, float], FloatArray]) -> LayerWeights:
    """`change(array, neutral value)` of every array with an entry per output channel."""
    changed: dict[str, Any] = {}
    for name in ("weights", "biases", "scales", "mean", "variance"):
        array = getattr(values, name)
        if array is not None and array.size > 0:  # a [batchnorm] layer has no weights
            changed[name] = change(array, 1.0 if name == "variance" else 0.0)
    return replace(values, coding=None, **changed)


def _take(array: FloatArray, neutral: float, *, channels: Channels) -> FloatArray:
    return array[channels]


def _select_inputs(layer: Layer, values: LayerWeights, channels: Channels) -> LayerWeights:
    shape = (len(values.weights), -1, *values.weights.shape[2:])
    return replace(values, weights=by_input(layer, values.weights)[:, channels].reshape(shape), coding=None)


def by_input(layer: Layer, weights: FloatArray) -> FloatArray:
    """Weights as `[outputs, input channels, values of one channel]`: those of a channel lie one after another.

    There are as many channels as the weights have, not as the cfg says: an earlier selection may have removed some.
    """
    assert isinstance(layer, MatrixLayer), "only layers that mix channels read them"
    return weights.reshape(len(weights), -1, layer.columns // layer.input.channels)
