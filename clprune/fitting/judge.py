"""What the network's answer loses by one change: judged, kept in the record, and told by the work that it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from clprune.container.model import Model
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.values import Weights
from clprune.fitting.entry import Entry
from clprune.fitting.record import Record
from clprune.fitting.stored import rounded
from clprune.progress import OnProgress, Progress
from clprune.pruning.channels import channels_taken, input_channels
from clprune.pruning.network import Masks, PrunedLayer
from clprune.pruning.registry import get_method
from clprune.pruning.shrink import channels_left, clear_channels
from clprune.training.refit import Extent, Reference

#: A section of the record and a name in it.
Place = tuple[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Losses of `model`, whose dense layers `reference` has, and what is expected to be asked for.

    Layers differ a thousandfold in what judging them takes: progress counts multiplications, not layers.
    """

    model: Model
    reference: Reference
    record: Record
    progress: OnProgress | None = None
    _expected: dict[Place, float] = field(default_factory=dict)
    _asked: set[Place] = field(default_factory=set)

    def expect(self, places: Iterable[Place], work: float) -> None:
        """Say what will be asked for, each of so much work; what is recorded takes none."""
        self._expected.update({place: work for place in places if not self.record.has(*place)})

    def work(self, indices: Collection[int], *, whole: bool) -> float:
        """Multiplications by which these layers are fitted and run, `whole`: with all that comes after them."""
        fits = sum(self.reference.work_to_fit(index) for index in indices)
        return fits + (self.reference.work_from(min(indices)) if whole else 0)

    def layer_loss(self, pruned: PrunedLayer) -> float:
        """Of the answer, with this layer alone pruned and fitted."""

        def find() -> float:
            weights, extent = removed(self.model.weights, [pruned]), Extent(only=(pruned.index,), is_judged=True)
            return self._divergence(weights, {pruned.index: pruned.mask}, extent)

        return self._known(loss_of(pruned.index, pruned.options), find)

    def layer_error(self, pruned: PrunedLayer) -> float:
        """How far this layer's own outputs stray once it alone is pruned and fitted."""

        def find() -> float:
            weights = removed(self.model.weights, [pruned])
            return self.reference.layer_error(weights, pruned.mask, pruned.index)

        return self._known(error_of(pruned.index, pruned.options), find)

    def stored_loss(self, index: int, bits: int) -> float:
        """Of the answer, with this layer alone stored in so many bits."""

        def find() -> float:
            weights = rounded(self.model.network, self.model.weights, {index: bits})
            return self._divergence(weights, {}, Extent(only=(), is_judged=True))

        return self._known(stored_of(index, bits), find)

    def group_loss(self, masks: Masks, share: str) -> float:
        """Of the answer, with the channels gone that `masks` leave nothing of, and their readers fitted."""

        def find() -> float:
            network = self.model.network
            taken = channels_taken(network, channels_left(masks))
            readers = [one.index for one in network.layers if input_channels(network, one, taken) is not None]
            cleared = clear_channels(network, self.model.weights, masks)
            return self._divergence(cleared, masks, Extent(only=tuple(readers), is_judged=True))

        return self._known(group_of(masks, share), find)

    def _divergence(self, weights: Weights, masks: Masks, extent: Extent) -> float:
        return self.reference.refit(weights, masks, extent).divergence

    def _known(self, place: Place, find: Callable[[], float]) -> float:
        if self.progress is not None and not self.record.has(*place):
            done = sum(work for known, work in self._expected.items() if known in self._asked)
            total = sum(self._expected.values())
            self.progress(Progress(stage="losses", done=done, total=total, place=place[1]))
        self._asked.add(place)
        return float(self.record.get(*place, find))


def removed(weights: Weights, layers: Iterable[PrunedLayer]) -> Weights:
    """`weights` without what the masks of `layers` remove, each by its own method."""
    values = list(weights.layers)
    for pruned in layers:
        method = get_method(pruned.options.method)
        values[pruned.index] = method.remove(pruned.values, pruned.mask, method.options())
    return replace(weights, layers=tuple(values))


def loss_of(index: int, options: PruneOptions) -> Place:
    """Where the loss by a layer is recorded."""
    return "losses", f"{index} {Entry(options=options, time_ms=0)}"


def error_of(index: int, options: PruneOptions) -> Place:
    """Where the error of a layer is recorded."""
    return "errors", f"{index} {Entry(options=options, time_ms=0)}"


def stored_of(index: int, bits: int) -> Place:
    """Where the loss by storing a layer is recorded."""
    return "losses", f"{index} {bits} bits"


def group_of(producers: Iterable[int], share: str) -> Place:
    """Where the loss by the channels of tied layers is recorded."""
    return "losses", f"{'+'.join(map(str, producers))} {share}"
