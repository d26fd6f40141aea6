"""The table of a model on a device: times measured there, losses on images without labels; what is recorded is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from clprune.container.model import Model
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.fitting.anchors import loss_at
from clprune.fitting.entry import Entry
from clprune.fitting.judge import Judge, error_of, group_of, loss_of, removed, stored_of
from clprune.fitting.kinds import BETWEEN_SHARES, CHANNEL_SHARES, MEASURED_SHARES, Kind, Way, ways_of
from clprune.fitting.record import Record
from clprune.fitting.stored import FLOAT_BITS, stored
from clprune.fitting.table import Group, Table, thin_shares
from clprune.fitting.times import interpolated, measure, overhead_of, parts_of, tune_missing
from clprune.opencl import Session
from clprune.plan.pruned import tile_units
from clprune.progress import OnProgress, Progress
from clprune.pruning.channels import channel_groups
from clprune.pruning.network import PrunedLayer, masks_of, prune_layers, with_prune_options
from clprune.pruning.registry import get_method
from clprune.pruning.shrink import channels_left, shrink_network
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

#: By way and layer, milliseconds.
Times = Mapping[str, Mapping[int, float]]


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
            if self.progress is not None:
                self.progress(Progress(stage="times", done=number, total=len(ways), place=str(way)))
            self.record.get("times", str(way), lambda way=way: self._measure(way, seconds))  # type: ignore[misc]
        alone = {str(way): self._alone(str(way)) for way in ways}
        overhead_ms = overhead_of([(sum(layers.values()), self._whole_ms(name)) for name, layers in alone.items()])
        times = {name: parts_of(self._whole_ms(name) - overhead_ms, layers) for name, layers in alone.items()}
        thin = [(way.kind, way.share) for way in ways if way.kind is not None and way.kind.removes_channels]
        judge = Judge(model=self.model, reference=self.reference, record=self.record, progress=self.progress)
        self._expect(judge, times, thin)
        groups = self._groups(judge, thin)
        return Table(
            network=self.model.network,
            entries=self._entries(judge, times),
            groups=groups,
            channel_shares=(0.0, *CHANNEL_SHARES) if groups else (0.0,),
            thin_ms=self._thin(times, thin),
            overhead_ms=overhead_ms,
        )

    def _alone(self, name: str) -> dict[int, float]:
        found = self.record.known("times", name)["layers"]
        return {int(index): float(time_ms) for index, time_ms in found.items()}

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
        if model is self.model:
            return measure(self.session, model)
        found = measure(self.session, model, beside=self.model)
        slower = found.pop("beside_ms") / self._whole_ms("dense")  # the machine, than when the dense network was timed
        by_layer = {index: time_ms / slower for index, time_ms in found["layers"].items()}
        return {"whole_ms": found["whole_ms"] / slower, "layers": by_layer}

    def _plan(self, kind: Kind, share: float) -> dict[int, PruneOptions]:
        return kind.plan(self.model.network, self.model.weights, share, self._tile_rows(kind))

    def _pruned(self, kind: Kind, share: float) -> tuple[PrunedLayer, ...]:
        plan = self._plan(kind, share)
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

    def _expect(self, judge: Judge, times: Times, thin: list[tuple[Kind, float]]) -> None:
        """Tell `judge` all that it will be asked for, as far as times say which ways are of use."""
        dense, plain = times["dense"], self._plain_kinds
        for number, kind in enumerate(plain):
            is_judged, has_error = self._is_judged(number), not self._is_judged(1)
            for share in MEASURED_SHARES:
                for index, options in self._plan(kind, share).items():
                    if self._is_faster(kind, share, index, times) or (has_error and is_judged):
                        judge.expect([loss_of(index, options)] * is_judged, judge.work([index], whole=True))
                        judge.expect([error_of(index, options)] * has_error, judge.work([index], whole=False))
        for bits in self.bits:
            for index in dense:
                judge.expect([stored_of(index, bits)], self.reference.work_from(index))
        tied = channel_groups(self.model.network)
        for kind, share in thin:
            for producers in {tied[index].producers for index in self._plan(kind, share)}:
                judge.expect([group_of(producers, f"{kind} {share:g}")], judge.work(producers, whole=True))

    def _is_faster(self, kind: Kind, share: float, index: int, times: Times) -> bool:
        """Whether a layer takes less time than dense in one of the ways that are judged together."""
        ways = (times.get(str(Way(kind=kind, share=share, bits=bits)), {}) for bits in (FLOAT_BITS, *self.bits))
        return any(way.get(index, math.inf) < times["dense"][index] for way in ways)

    @property
    def _plain_kinds(self) -> list[Kind]:
        return [kind for kind in self.kinds if not kind.removes_channels]

    def _is_judged(self, number: int) -> bool:
        """Whether ways of this kind are judged by the answer: those of the first are, the others if it is not long."""
        passes = sum(self.reference.work_from(layer.index) for layer in self.model.network.matrix_layers)
        return not number or passes * len(self._plain_kinds) * len(MEASURED_SHARES) <= MOST_JUDGED

    def _entries(self, judge: Judge, times: Times) -> dict[int, tuple[Entry, ...]]:
        entries = {index: [Entry(options=None, time_ms=time_ms)] for index, time_ms in times["dense"].items()}
        for bits in self.bits:
            for index, time_ms in times[str(Way(bits=bits))].items():
                if time_ms < entries[index][0].time_ms:
                    loss = judge.stored_loss(index, bits)
                    entries[index].append(Entry(options=None, time_ms=time_ms, loss=loss, bits=bits))
        anchors = self._anchors(judge)
        for number, kind in enumerate(self._plain_kinds):
            for bits in (FLOAT_BITS, *self.bits):
                curves = self._curves(judge, kind, bits, entries, times, anchors=anchors if number else {})
                for index, curve in curves.items():
                    entries[index] += [*curve.values(), *_between(curve)]
        return {index: tuple(found) for index, found in entries.items()}

    def _curves(
        self,
        judge: Judge,
        kind: Kind,
        bits: int,
        entries: Mapping[int, list[Entry]],
        times: Times,
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
                by_error = loss_at(anchors[index], judge.layer_error(pruned)) if index in anchors else None
                loss = judge.layer_loss(pruned) if by_error is None else by_error
                is_float = bits == FLOAT_BITS
                curves.setdefault(index, {})[share] = Entry(
                    options=pruned.options,
                    time_ms=time_ms,
                    loss=loss if is_float else loss + judge.stored_loss(index, bits),
                    bits=bits,
                    is_loss_measured=is_float and by_error is None,
                )
        return curves

    def _anchors(self, judge: Judge) -> dict[int, Anchors]:
        """By layer, errors and losses of the first kind, where judging all kinds would take too long."""
        found: dict[int, Anchors] = {}
        if self._plain_kinds and not self._is_judged(1):
            first = self._plain_kinds[0]
            for pruned in (pruned for share in MEASURED_SHARES for pruned in self._pruned(first, share)):
                found.setdefault(pruned.index, []).append((judge.layer_error(pruned), judge.layer_loss(pruned)))
        return found

    def _groups(self, judge: Judge, thin: list[tuple[Kind, float]]) -> tuple[Group, ...]:
        if not thin:
            return ()
        tied, losses = channel_groups(self.model.network), dict[tuple[int, ...], list[float]]()
        for kind, share in thin:
            masks = masks_of(self._pruned(kind, share))
            for producers in sorted({tied[index].producers for index in masks}):
                own = {index: masks[index] for index in producers}
                losses.setdefault(producers, [0.0]).append(judge.group_loss(own, f"{kind} {share:g}"))
        return tuple(Group(producers=producers, losses=tuple(found)) for producers, found in losses.items())

    def _thin(self, times: Times, thin: list[tuple[Kind, float]]) -> dict[int, tuple[tuple[float, float], ...]]:
        dense = times["dense"]
        points = {index: [(1.0, 1.0)] for index in dense}
        for kind, share in thin:
            left = channels_left(masks_of(self._pruned(kind, share)))
            thin_of = thin_shares(self.model.network, {index: len(kept) for index, kept in left.items()})
            for index, time_ms in times[f"{kind} {share:g}"].items():
                if thin_of[index].work < 1 and dense.get(index):
                    points[index].append((thin_of[index].work, time_ms / dense[index]))
        return {index: tuple(found) for index, found in points.items()}


def in_domain(model: Model, plan: Mapping[int, PruneOptions]) -> Weights:
    """The weights of `model` with the layers of `plan` in the domain where they are pruned."""
    tiles = {index: options.winograd for index, options in plan.items() if options.winograd is not None}
    return to_winograd_domain(model.network, model.weights, tiles)


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
