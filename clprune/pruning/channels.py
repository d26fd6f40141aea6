"""Which output channels of a network belong together: what changes with them when they are reordered or removed.

Convolutions and connected layers make new channels of all that they read. Layers that treat each channel by itself pass
them on, depthwise convolutions among them; a route puts those of its sources one after another. Sums and products tie
the channels of their sources: what happens to one happens to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
class ChannelGroup:
    """Layers whose output channels are tied one to one: `producers`, by rising index.

    `obstacle` says why the channels must stay as they are; None where they need not.
    """

    producers: tuple[int, ...]
    obstacle: str | None


def channel_groups(network: Network) -> dict[int, ChannelGroup]:
    """The group of each convolution and connected layer, by layer index."""
    ties = _Ties()
    outputs: list[Channels] = []
    for layer in network.layers:
        sources = [ties.of_input(network) if source < 0 else outputs[source] for source in layer.sources]
        outputs.append(_follow(network, layer, sources, ties))
        if layer in network.output_layers:
            by_way = "" if isinstance(layer, MatrixLayer) else f", by way of {layer}"
            ties.hold(outputs[-1], f"they are the network's answer{by_way}")
    makers = {layer.index: layer for layer in network.layers if isinstance(layer, MatrixLayer)}
    roots = {index: ties.roots(outputs[index]) for index in makers if not _passes_on(network, makers[index])}
    groups = {index: _group(index, roots, ties) for index in roots}
    for index in makers.keys() - roots.keys():
        own = ties.roots(outputs[index])
        first = next((maker for maker, found in roots.items() if np.array_equal(found, own)), None)
        reason = "they are the network's input" if first is None else f"they go with those of layer {first}"
        groups[index] = ChannelGroup(producers=(index,), obstacle=reason)
    return groups


@dataclass(eq=False)
class _Ties:
    """Channels as numbers, which of them are tied (a forest), and which must stay, with the reason."""

    parents: list[int] = field(default_factory=list)
    held: list[tuple[int, str]] = field(default_factory=list)
    _input: Channels | None = None

    def new(self, count: int) -> Channels:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def of_input(self, network: Network) -> Channels:
        if self._input is None:
            self._input = self.new(network.input.channels)
            self.hold(self._input, "they are tied to the network's input")
        return self._input

    def hold(self, channels: Channels, reason: str) -> None:
        self.held += [(int(channel), reason) for channel in channels]

    def root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel

    def roots(self, channels: Iterable[int]) -> Channels:
        return np.array([self.root(int(channel)) for channel in channels], np.int64)

    def tie(self, some: Channels, others: Channels) -> None:
        for one, other in zip(some, others, strict=True):
            self.parents[self.root(int(one))] = self.root(int(other))


def _follow(network: Network, layer: Layer, sources: Sequence[Channels], ties: _Ties) -> Channels:
    """The channels that a layer delivers."""
    if _passes_on(network, layer):
        for other in sources[1:]:
            ties.tie(sources[0], other)
        return sources[0]
    if layer.concatenates_channels:
        return np.concatenate(sources)
    made = ties.new(layer.output.channels)
    if not isinstance(layer, MatrixLayer):
        reason = f"they reach {layer}"
    elif layer.is_grouped:
        reason = f"{layer} reads them in groups"
        ties.hold(made, "its channels lie in groups")
    elif _shares_values(network, layer):
        reason = f"{layer} reads them with weights that it shares"
        ties.hold(made, "its weights are shared")
    else:
        return made
    for source in sources:
        ties.hold(source, reason)
    return made


def _group(index: int, roots: Mapping[int, Channels], ties: _Ties) -> ChannelGroup:
    own = set(roots[index].tolist())
    reasons = [reason for channel, reason in ties.held if ties.root(channel) in own]
    tied = [other for other, found in roots.items() if not own.isdisjoint(found.tolist())]
    if len(own) < len(roots[index]):
        reasons.append("some of them are tied to each other")
    reasons += [
        f"only some of them are tied to those of layer {other}"
        for other in tied
        if not np.array_equal(roots[other], roots[index])
    ]
    return ChannelGroup(producers=tuple(sorted(tied)), obstacle=reasons[0] if reasons else None)


def _shares_values(network: Network, layer: Layer) -> bool:
    """Whether other layers compute with its values, or it with another's."""
    return [other.values_index for other in network.layers if other.arrays].count(layer.values_index) > 1


def _passes_on(network: Network, layer: Layer) -> bool:
    """Whether channel c of its output comes of channel c of each source alone, with values of its own."""
    shapes = [network.input if source < 0 else network.layers[source].output for source in layer.sources]
    is_own = not layer.arrays or not _shares_values(network, layer)
    return layer.carries_channels and is_own and {shape.channels for shape in shapes} == {layer.output.channels}


def channels_taken(network: Network, chosen: Mapping[int, Channels]) -> tuple[Channels, ...]:
    """The old channel at each new place of every layer's output, where the layers of `chosen` take theirs as told.

    Raises UsageError where something depends on channels as they are, or tied channels would part.
    """
    groups = channel_groups(network)
    for index in sorted(chosen):
        if groups[index].obstacle is not None:
            message = f"the channels of {network.layers[index]} must stay: {groups[index].obstacle}"
            raise UsageError(f"{network.path}: {message}")
    taken: list[Channels] = []
    for layer in network.layers:
        sources = [np.arange(network.input.channels) if source < 0 else taken[source] for source in layer.sources]
        if layer.index in chosen:
            found = chosen[layer.index]
        elif _passes_on(network, layer):
            found = sources[0]
            if not all(np.array_equal(found, other) for other in sources[1:]):
                raise UsageError(f"{network.path}: {layer} ties channels: expected the same chosen in all its sources")
        elif layer.concatenates_channels:
            counts = [0, *(network.layers[source].output.channels for source in layer.sources[:-1])]
            found = np.concatenate([part + first for part, first in zip(sources, np.cumsum(counts), strict=True)])
        else:
            found = np.arange(layer.output.channels)
        taken.append(found)
    return tuple(taken)


def select_channels(network: Network, weights: Weights, chosen: Mapping[int, Channels]) -> Weights:
    """The weights with the output channels of each layer of `chosen` taken in that order, here and where they are read.

    `chosen` maps layer index -> channels (int64; a permutation reorders, a selection removes the others), of tied
    layers the same. The new values fit a network with as many channels. Raises UsageError where a layer's channels
    cannot be changed.
    """
    taken = channels_taken(network, chosen)
    layers = list(weights.layers)
    for layer in network.layers:
        read = input_channels(network, layer, taken)
        if read is None and not changes(layer, taken):
            continue
        values = _values(network, layers, layer.index)
        if changes(layer, taken):
            values = change_outputs(values, partial(_take, channels=taken[layer.index]))
        layers[layer.index] = values if read is None else _select_inputs(layer, values, read)
    return replace(weights, layers=tuple(layers))


def changes(layer: Layer, taken: Sequence[Channels]) -> bool:
    """Whether a layer has values that change with its output channels."""
    found = taken[layer.index]
    return bool(layer.arrays) and not (len(found) == layer.output.channels and (np.diff(found) == 1).all())


def input_channels(network: Network, layer: Layer, taken: Sequence[Channels]) -> Channels | None:
    """The channels that a layer which mixes its inputs has left of them; None where they all stay, and for others."""
    if not isinstance(layer, MatrixLayer) or layer.is_grouped or layer.sources[0] < 0:
        return None
    found = taken[layer.sources[0]]
    return None if np.array_equal(found, np.arange(layer.input.channels)) else found


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
