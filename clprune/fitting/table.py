"""What every layer costs in every way: values only, from which `clprune.fitting.choice` chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clprune.darknet.kinds.base import Layer, MatrixLayer, PruneOptions
from clprune.darknet.network import Network
from clprune.errors import UsageError, shown
from clprune.fitting.stored import FLOAT_BITS
from clprune.fitting.times import Calibration
from clprune.pruning.channels import channels_taken
from clprune.pruning.shrink import resize_network
from clprune.pruning.unit import kept_count


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One way for one layer: `options` (None: dense), the `bits` of its weights, milliseconds alone, and what the
    network's answer loses by it.

    What was not measured is interpolated; the loss of pruning and storing is the sum of both.
    """

    options: PruneOptions | None
    time_ms: float
    loss: float = 0.0
    bits: int = FLOAT_BITS
    is_time_measured: bool = True
    is_loss_measured: bool = True

    def __str__(self) -> str:
        stored = "" if self.bits == FLOAT_BITS else f" {self.bits} bits"
        if self.options is None:
            return f"dense{stored}"
        domain = "" if self.options.winograd is None else f" F({self.options.winograd})"
        return f"{self.options.method} {self.options.unit}{domain} {100 * self.options.sparsity:g}%{stored}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        sources = {True: "measured", False: "interpolated"}
        return {
            "choice": str(self), "ms": self.time_ms, "ms_from": sources[self.is_time_measured], "loss": self.loss,
            "loss_from": sources[self.is_loss_measured],
        }  # fmt: skip


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """All entries by layer index, the first of each dense; `groups` and their `channel_shares`, the first 0.

    `thin_ms`: by layer, (its work's share, its time's share) in networks that lost channels evenly, with (1, 1).
    """

    network: Network
    entries: Mapping[int, tuple[Entry, ...]]
    groups: tuple[Group, ...]
    channel_shares: tuple[float, ...]
    thin_ms: Mapping[int, tuple[tuple[float, float], ...]]
    calibration: Calibration
    _factors: dict[tuple[int, ...], dict[int, float]] = field(default_factory=dict)

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

    def factors(self, channels: tuple[int, ...]) -> dict[int, float]:
        """Layer index -> what its time is multiplied by where channels are gone."""
        if channels not in self._factors:
            works = thin_works(self.network, self.kept(channels))
            found = {}
            for index, points in self.thin_ms.items():
                shares, times = zip(*sorted(points), strict=True)
                found[index] = float(np.interp(works[index], shares, times))
            self._factors[channels] = found
        return self._factors[channels]

    def time_ms(self, selection: Selection) -> float:
        """Milliseconds that the whole network is expected to take."""
        factors = self.factors(selection.channels)
        layers = (self.entries[index][place].time_ms * factors[index] for index, place in selection.entries.items())
        return self.calibration.whole_ms(sum(layers))

    def loss(self, selection: Selection) -> float:
        """What the answer loses, as if every part of it came by itself."""
        groups = sum(group.losses[place] for group, place in zip(self.groups, selection.channels, strict=True))
        return groups + sum(self.entries[index][place].loss for index, place in selection.entries.items())


def thin_works(network: Network, kept: Mapping[int, int]) -> dict[int, float]:
    """Layer index -> the share of its work that is left where layers keep so many channels."""
    taken = channels_taken(network, {index: np.arange(count) for index, count in kept.items()})
    counts = {
        layer.index: len(taken[layer.index])
        for layer in network.layers
        if isinstance(layer, MatrixLayer) and len(taken[layer.index]) < layer.output.channels
    }
    thin = resize_network(network, counts)
    return {layer.index: _work(thin.layers[layer.index]) / _work(layer) for layer in network.layers}


def _work(layer: Layer) -> float:
    places = layer.output.height * layer.output.width
    return float(layer.output.channels * places * (layer.columns if isinstance(layer, MatrixLayer) else 1))
