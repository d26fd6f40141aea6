"""The table of a model on a device: times measured there, losses on images without labels; what is recorded is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from clprune.container.model import Model
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.fitting.anchors import loss_at
from clprune.fitting.kinds import BETWEEN_SHARES, CHANNEL_SHARES, MEASURED_SHARES, Kind, Way, ways_of
from clprune.fitting.record import Record
from clprune.fitting.stored import FLOAT_BITS, rounded, stored
from clprune.fitting.table import Entry, Group, Table, thin_works
from clprune.fitting.times import calibrate, interpolated, measure, tune_missing
from clprune.opencl import Session
from clprune.plan.pruned import tile_units
from clprune.progress import OnProgress, Progress
from clprune.pruning.channels import channel_groups, channels_taken, input_channels
from clprune.pruning.network import Masks, PrunedLayer, masks_of, prune_layers, with_prune_options
from clprune.pruning.registry import get_method
from clprune.pruning.shrink import channels_left, clear_channels, shrink_network
from clprune.pruning.winograd import to_winograd_domain
from clprune.tiles.lookup import Lookup
from clprune.tiles.store import Store
from clprune.training.refit import Reference

#: Multiplications by which every way of every layer is judged in the whole network, at most; else the ways of one kind
#: are, and those of others by how far they bring the layer itself from what it put out.
MOST_JUDGED = 4e12

#: The share for which the tile that gives a kind its rows is looked up.
ROWS_SHARE = 0.75

Anchors = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Makes the table of `model`, whose dense layers `reference` has; `tune_s` are seconds of tuning in all.

    `bits` are those that weights may be stored in beside 32.
    """

    model: Model
    session: Session
    store: Store
    reference: Reference
    record: Record
    kinds: tuple[Kind, ...]
    bits: tuple[int, ...]
    tune_s: float
    progress: OnProgress | None = None

    def table(self) -> Table:
        """Measure and judge what the record does not have yet. Raises UsageError, LaunchError, FileError."""
        if any(values is not None and values.winograd for values in self.model.weights.layers):
            raise UsageError(f"{self.model.path}: layers in the Winograd domain: expected one never pruned")
        ways = ways_of(self.kinds, self.bits)
        seconds = self.tune_s / len(ways)
        for number, way in enumerate(ways):
            self.tell("times", number, len(ways), str(way))
            self.record.get("times", str(way), lambda way=way: self._measure(way, seconds))  # type: ignore[misc]
        times = {str(way): self._times(str(way)) for way in ways}
        runs = [(sum(times[name].values()), self._whole_ms(name)) for name in times]
        thin = [(way.kind, way.share) for way in ways if way.kind is not None and way.kind.removes_channels]
        groups = self._groups(thin)
        return Table(
            network=self.model.network,
            entries=self._entries(times),
            groups=groups,
            channel_shares=(0.0, *CHANNEL_SHARES) if groups else (0.0,),
            thin_ms=self._thin(times, thin),
            calibration=calibrate(runs),
        )

    def tell(self, stage: str, done: int, total: int, place: str) -> None:
        """Say how far the work is."""
        if self.progress is not None:
            self.progress(Progress(stage=stage, done=done, total=total, place=place))

    def _times(self, name: str) -> dict[int, float]:
        found = self.record.known("times", name)
        return {int(index): float(time_ms) for index, time_ms in found["layers"].items()}

    def _whole_ms(self, name: str) -> float:
        return float(self.record.known("times", name)["whole_ms"])

    def _measure(self, way: Way, tune_s: float) -> dict[str, object]:
        model = self.model
        if way.kind is not None and way.kind.removes_channels:
            small = shrink_network(model.network, model.weights, masks_of(self._pruned(way.kind, way.share)))
            model = Model(network=small.network, weights=small.weights)
        elif way.kind is not None:
            layers = self._pruned(way.kind, way.share)
            plan = {layer.index: layer.options for layer in layers}
            weights = removed(in_domain(self.model, plan), layers)
            model = Model(network=with_prune_options(model.network, plan), weights=weights)
        if way.bits != FLOAT_BITS:
            model = stored(model, {layer.index: way.bits for layer in model.network.matrix_layers})
        tune_missing(self.session, self.store, model, budget_s=tune_s)
        return measure(self.session, model)

    def _pruned(self, kind: Kind, share: float) -> tuple[PrunedLayer, ...]:
        plan = kind.plan(self.model.network, self.model.weights, share, self._tile_rows(kind))
        return prune_layers(self.model.network, in_domain(self.model, plan), plan)

    def _tile_rows(self, kind: Kind) -> dict[int, int]:
        """Recorded, because tuning may find other tiles meanwhile."""
        settings = kind.settings(ROWS_SHARE)

        def find() -> dict[str, int]:
            units = tile_units(
                self.model.network, self.session.info, lookup=Lookup(self.store, self.session.info),
                sparsity=ROWS_SHARE, fc_sparsity=ROWS_SHARE, tile_rows=get_method(kind.method).tile_rows,
                winograd=settings.winograd,
            )  # fmt: skip
            return {str(index): unit.rows for index, unit in units.items()}

        found = self.record.get("rows", kind.method, find)
        return {int(index): int(rows) for index, rows in found.items()}

    def _entries(self, times: Mapping[str, Mapping[int, float]]) -> dict[int, tuple[Entry, ...]]:
        entries = {index: [Entry(options=None, time_ms=time_ms)] for index, time_ms in times["dense"].items()}
        for bits in self.bits:
            for index, time_ms in times[str(Way(bits=bits))].items():
                if time_ms < entries[index][0].time_ms:
                    loss = self._stored_loss(index, bits)
                    entries[index].append(Entry(options=None, time_ms=time_ms, loss=loss, bits=bits))
        kinds = [kind for kind in self.kinds if not kind.removes_channels]
        anchors = self._anchors(kinds) if kinds else {}
        for number, kind in enumerate(kinds):
            self.tell("losses", number, len(kinds), str(kind))
            for bits in (FLOAT_BITS, *self.bits):
                for index, curve in self._curves(kind, bits, entries, times, anchors=anchors if number else {}).items():
                    entries[index] += [*curve.values(), *_between(curve)]
        return {index: tuple(found) for index, found in entries.items()}

    def _curves(
        self,
        kind: Kind,
        bits: int,
        entries: Mapping[int, list[Entry]],
        times: Mapping[str, Mapping[int, float]],
        *,
        anchors: Mapping[int, Anchors],
    ) -> dict[int, dict[float, Entry]]:
        """By layer and share what is not among `entries` yet and may be of use."""
        curves: dict[int, dict[float, Entry]] = {}
        for share in MEASURED_SHARES:
            found = times.get(str(Way(kind=kind, share=share, bits=bits)), {})
            for pruned in self._pruned(kind, share) if found else ():
                index, time_ms = pruned.index, found.get(pruned.index, math.inf)
                known = any((entry.options, entry.bits) == (pruned.options, bits) for entry in entries[index])
                # what is no faster than the dense layer need not be judged
                if known or time_ms >= entries[index][0].time_ms:
                    continue
                by_error = loss_at(anchors[index], self._layer_error(pruned)) if index in anchors else None
                loss = self._layer_loss(pruned) if by_error is None else by_error
                is_float = bits == FLOAT_BITS
                curves.setdefault(index, {})[share] = Entry(
                    options=pruned.options,
                    time_ms=time_ms,
                    loss=loss if is_float else loss + self._stored_loss(index, bits),
                    bits=bits,
                    is_loss_measured=is_float and by_error is None,
                )
        return curves

    def _stored_loss(self, index: int, bits: int) -> float:
        """Of the answer, with this layer alone stored in so many bits."""

        def find() -> float:
            weights = rounded(self.model.network, self.model.weights, {index: bits})
            return self.reference.refit(weights, {}, only=(), judges=True).divergence

        return float(self.record.get("losses", f"{index} {bits} bits", find))

    def _anchors(self, kinds: list[Kind]) -> dict[int, Anchors]:
        """By layer, errors and losses of the first kind, where judging all kinds would take too long."""
        passes = sum(self.reference.work_from(layer.index) for layer in self.model.network.matrix_layers)
        if passes * len(kinds) * len(MEASURED_SHARES) <= MOST_JUDGED:
            return {}
        self.tell("losses", 0, len(kinds), str(kinds[0]))
        found: dict[int, Anchors] = {}
        for pruned in (pruned for share in MEASURED_SHARES for pruned in self._pruned(kinds[0], share)):
            found.setdefault(pruned.index, []).append((self._layer_error(pruned), self._layer_loss(pruned)))
        return found

    def _layer_loss(self, pruned: PrunedLayer) -> float:
        """Of the answer, with this layer alone pruned and fitted."""
        name = f"{pruned.index} {Entry(options=pruned.options, time_ms=0)}"

        def find() -> float:
            weights = removed(self.model.weights, [pruned])
            return self.reference.refit(
                weights, {pruned.index: pruned.mask}, only={pruned.index}, judges=True
            ).divergence

        return float(self.record.get("losses", name, find))

    def _layer_error(self, pruned: PrunedLayer) -> float:
        name = f"{pruned.index} {Entry(options=pruned.options, time_ms=0)}"
        weights = removed(self.model.weights, [pruned])
        return float(
            self.record.get("errors", name, lambda: self.reference.layer_error(weights, pruned.mask, pruned.index))
        )

    def _groups(self, thin: list[tuple[Kind, float]]) -> tuple[Group, ...]:
        network, weights = self.model.network, self.model.weights
        if not thin:
            return ()
        tied, losses = channel_groups(network), dict[tuple[int, ...], list[float]]()
        for number, (kind, share) in enumerate(thin):
            self.tell("losses", number, len(thin), f"{kind} {share:g}")
            masks = masks_of(self._pruned(kind, share))
            for producers in sorted({tied[index].producers for index in masks}):
                own = {index: masks[index] for index in producers}

                def find(own: Masks = own) -> float:
                    taken = channels_taken(network, channels_left(own))
                    layers = network.layers
                    readers = [one.index for one in layers if input_channels(network, one, taken) is not None]
                    cleared = clear_channels(network, weights, own)
                    return self.reference.refit(cleared, own, only=readers, judges=True).divergence

                name = f"{'+'.join(map(str, producers))} {kind} {share:g}"
                losses.setdefault(producers, [0.0]).append(float(self.record.get("losses", name, find)))
        return tuple(Group(producers=producers, losses=tuple(found)) for producers, found in losses.items())

    def _thin(
        self, times: Mapping[str, Mapping[int, float]], thin: list[tuple[Kind, float]]
    ) -> dict[int, tuple[tuple[float, float], ...]]:
        dense = times["dense"]
        points = {index: [(1.0, 1.0)] for index in dense}
        for kind, share in thin:
            left = channels_left(masks_of(self._pruned(kind, share)))
            works = thin_works(self.model.network, {index: len(kept) for index, kept in left.items()})
            for index, time_ms in times[f"{kind} {share:g}"].items():
                if works[index] < 1 and dense.get(index):
                    points[index].append((works[index], time_ms / dense[index]))
        return {index: tuple(found) for index, found in points.items()}


def in_domain(model: Model, plan: Mapping[int, PruneOptions]) -> Weights:
    """The weights of `model` with the layers of `plan` in the domain where they are pruned."""
    tiles = {index: options.winograd for index, options in plan.items() if options.winograd is not None}
    return to_winograd_domain(model.network, model.weights, tiles)


def removed(weights: Weights, layers: Iterable[PrunedLayer]) -> Weights:
    """`weights` without what the masks of `layers` remove, each by its own method."""
    values = list(weights.layers)
    for pruned in layers:
        method = get_method(pruned.options.method)
        values[pruned.index] = method.remove(pruned.values, pruned.mask, method.options())
    return replace(weights, layers=tuple(values))


def _between(curve: Mapping[float, Entry]) -> list[Entry]:
    """Entries for the shares between those that were measured in the same unit, where the curves allow it."""
    found = []
    for share in BETWEEN_SHARES:
        below, above = [known for known in curve if known < share], [known for known in curve if known > share]
        if not below or not above:
            continue
        first, last = curve[max(below)], curve[min(above)]
        time_ms = interpolated({max(below): first.time_ms, min(above): last.time_ms}, share)
        assert first.options is not None and last.options is not None
        if time_ms is None or first.options.unit != last.options.unit or not 0 < first.loss <= last.loss:
            continue
        part = (share - max(below)) / (min(above) - max(below))
        found.append(
            Entry(
                options=replace(first.options, sparsity=share),
                time_ms=time_ms,
                loss=first.loss ** (1 - part) * last.loss**part,
                bits=first.bits,
                is_time_measured=False,
                is_loss_measured=False,
            )
        )
    return found
