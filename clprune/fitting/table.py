"""What every layer costs in every way: values only, from which `clprune.fitting.choice` chooses."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.network import Network
from clprune.errors import UsageError, shown
from clprune.fitting.curve import Curve, curves_of
from clprune.fitting.entry import Entry
from clprune.pruning.channels import channels_taken
from clprune.pruning.shrink import resize_network
from clprune.pruning.unit import kept_count

#: Entries by layer index, all or some by their places.
Ways = Mapping[int, tuple[Entry, ...]]
Useful = Mapping[int, Mapping[int, Entry]]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers whose channels are removed together, and the loss at each of the table's channel shares, first none."""

    producers: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """An entry of every layer, by index, and a channel share of every group, by its place."""

    entries: Mapping[int, int]
    channels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Thin:
    """The shares of a layer's `work` and of its `columns` that are left where channels are gone."""

    work: float
    columns: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """All entries by layer index, the first of each dense; `groups` and their `channel_shares`, the first 0.

    `thin_ms`: by layer, (its work's share, its time's share) in networks that lost channels evenly, with (1, 1).
    `overhead_ms`: what an inference takes beside its layers.
    """

    network: Network
    entries: Mapping[int, tuple[Entry, ...]]
    groups: tuple[Group, ...]
    channel_shares: tuple[float, ...]
    thin_ms: Mapping[int, tuple[tuple[float, float], ...]]
    overhead_ms: float = 0.0
    _shares: dict[tuple[int, ...], dict[int, Thin]] = field(default_factory=dict)
    _found: dict[tuple[int, Thin], tuple[tuple[Entry, ...], dict[int, Entry]]] = field(default_factory=dict)

    def name(self, selection: Selection) -> str:
        """What is chosen, in words that hold for tables with more entries, too."""
        layers = [f"{index} {self.entries[index][place]}" for index, place in selection.entries.items()]
        groups = zip(self.groups, selection.channels, strict=True)
        shares = [f"{group.producers[0]} {self.channel_shares[place]:g}" for group, place in groups if place]
        return "; ".join((*layers, *shares))

    def named(self, name: str) -> Selection:
        """The selection that `name` gave this name. Raises UsageError for one of another table."""
        parts = set(name.split("; "))
        entries = {}
        for index, ways in self.entries.items():
            place = next((place for place, entry in enumerate(ways) if f"{index} {entry}" in parts), None)
            if place is None:
                raise UsageError(f"{shown(name)!r}: expected a way of layer {index} that was measured")
            entries[index] = place
        shares = list(enumerate(self.channel_shares))
        channels = tuple(
            next((place for place, share in shares if place and f"{group.producers[0]} {share:g}" in parts), 0)
            for group in self.groups
        )
        return Selection(entries=entries, channels=channels)

    def kept(self, channels: tuple[int, ...]) -> dict[int, int]:
        """Layer index -> channels that stay, of the layers that lose some."""
        counts = {}
        for group, place in zip(self.groups, channels, strict=True):
            for producer in group.producers if place else ():
                total = self.network.layers[producer].output.channels
                counts[producer] = kept_count(total, sparsity=self.channel_shares[place])
        return counts

    def ways(self, channels: tuple[int, ...]) -> Ways:
        """The entries of every layer, by index, as they are where channels are gone: faster, and more is lost."""
        return {index: self._thinned(index, thin)[0] for index, thin in self._thin(channels).items()}

    def useful(self, channels: tuple[int, ...]) -> Useful:
        """Of `ways`, by their places, those than which no other is both no slower and no worse."""
        return {index: self._thinned(index, thin)[1] for index, thin in self._thin(channels).items()}

    def _thin(self, channels: tuple[int, ...]) -> dict[int, Thin]:
        if channels not in self._shares:
            shares = thin_shares(self.network, self.kept(channels))
            self._shares[channels] = {index: shares[index] for index in self.entries}
        return self._shares[channels]

    def _thinned(self, index: int, thin: Thin) -> tuple[tuple[Entry, ...], dict[int, Entry]]:
        if (index, thin) not in self._found:
            shares, times = zip(*sorted(self.thin_ms[index]), strict=True)
            factor, curves = float(np.interp(thin.work, shares, times)), self._curves[index]
            ways = tuple(
                replace(
                    entry,
                    time_ms=entry.time_ms * factor,
                    loss=entry.loss + _rise(entry, curves, columns=thin.columns),
                )
                for entry in self.entries[index]
            )
            self._found[index, thin] = ways, _undominated(ways)
        return self._found[index, thin]

    @functools.cached_property
    def _curves(self) -> dict[int, dict[object, Curve]]:
        return {index: curves_of(entries) for index, entries in self.entries.items()}

    def time_ms(self, selection: Selection) -> float:
        """Milliseconds that the whole network is expected to take."""
        ways = self.ways(selection.channels)
        return self.overhead_ms + sum(ways[index][place].time_ms for index, place in selection.entries.items())

    def loss(self, selection: Selection) -> float:
        """What the answer loses, as if every layer's part came by itself."""
        ways = self.ways(selection.channels)
        groups = sum(group.losses[place] for group, place in zip(self.groups, selection.channels, strict=True))
        return groups + sum(ways[index][place].loss for index, place in selection.entries.items())


def thin_shares(network: Network, kept: Mapping[int, int]) -> dict[int, Thin]:
    """By layer index what is left of it where layers keep so many channels."""
    taken = channels_taken(network, {index: np.arange(count) for index, count in kept.items()})
    counts = {
        layer.index: len(taken[layer.index])
        for layer in network.layers
        if isinstance(layer, MatrixLayer) and len(taken[layer.index]) < layer.output.channels
    }
    thin = resize_network(network, counts)
    return {
        layer.index: Thin(work=_work(left) / _work(layer), columns=_columns(left) / _columns(layer))
        for layer, left in zip(network.layers, thin.layers, strict=True)
    }


def _rise(entry: Entry, curves: Mapping[object, Curve], *, columns: float) -> float:
    if entry.options is None or entry.way not in curves or columns >= 1:
        return 0.0
    return curves[entry.way].rise(1 - entry.options.sparsity, columns=columns)


def _undominated(entries: Sequence[Entry]) -> dict[int, Entry]:
    found: dict[int, Entry] = {}
    least = math.inf
    for place in sorted(range(len(entries)), key=lambda place: (entries[place].time_ms, entries[place].loss, place)):
        if entries[place].loss < least:
            found[place], least = entries[place], entries[place].loss
    return dict(sorted(found.items()))


def _work(layer: Layer) -> float:
    places = layer.output.height * layer.output.width
    return float(layer.output.channels * places * _columns(layer))


def _columns(layer: Layer) -> int:
    return layer.columns if isinstance(layer, MatrixLayer) else 1
