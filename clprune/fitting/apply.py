"""What a selection makes of a model: channels gone, masks in what is left, and both fitted to the dense network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clprune.container.model import Model
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.rewrite import annotate_cfg
from clprune.dataset import DataSet
from clprune.fitting.build import in_domain
from clprune.fitting.judge import removed
from clprune.fitting.stored import FLOAT_BITS, rounded
from clprune.fitting.table import Selection, Table
from clprune.pruning.network import Masks, masks_of, prune_layers, with_prune_options
from clprune.pruning.shrink import clear_channels, shrink_network
from clprune.training.refit import WHOLE, Extent, Reference
from clprune.unit import Unit


@dataclass(frozen=True, kw_only=True, eq=False)
class _Thin:
    """A model that lost channels, or none: then with no text of its own."""

    model: Model
    cfg_text: str | None
    reference: Reference


@dataclass(frozen=True, kw_only=True, eq=False)
class Applied:
    """The `model` of a `selection` before any retraining, its `masks`, the `bits` of layers that are to be stored in
    fewer, and how far its answers are then from the dense model's on the calibration images, as in
    `clprune.training.refit.Refitted`.
    """

    selection: Selection
    model: Model
    masks: Masks
    bits: Mapping[int, int]
    divergence: float


@dataclass(kw_only=True, eq=False)
class Applier:
    """Prunes `model` as selections from `table` say; `reference` is that of `model` and `images`.

    What lost the same channels before is held: a search asks for it again.
    """

    table: Table
    model: Model
    reference: Reference
    images: DataSet
    _thin: tuple[object, _Thin] | None = None

    def __call__(self, selection: Selection, extent: Extent = WHOLE) -> Applied:
        """The model of a selection, fitted as far as `extent` says. Raises UsageError."""
        held = (selection.channels, extent)
        if self._thin is None or self._thin[0] != held:
            self._thin = None  # two would fill the memory
            self._thin = held, self._without_channels(selection.channels, extent)
        thin = self._thin[1]
        network = thin.model.network
        chosen = {index: self.table.entries[index][place] for index, place in selection.entries.items()}
        options = {index: entry.options for index, entry in chosen.items() if entry.options is not None}
        bits = {index: entry.bits for index, entry in chosen.items() if entry.bits != FLOAT_BITS}
        weights = in_domain(thin.model, options)
        layers = prune_layers(network, weights, options)
        refitted = thin.reference.refit(removed(weights, layers), masks_of(layers), extent)
        answers = refitted.answers
        if bits:
            coded = rounded(network, refitted.weights, bits)
            answers = thin.reference.refit(coded, {}, replace(extent, only=())).answers
        return Applied(
            selection=selection,
            model=Model(
                network=with_prune_options(network, options),
                weights=refitted.weights,
                cfg_text=annotate_cfg(self.model.path, options, text=thin.cfg_text),
                names_path=self.model.names_file,
            ),
            masks=masks_of(layers),
            bits=bits,
            divergence=self.reference.divergence_of(answers[: self.reference.judged] if extent.is_judged else answers),
        )

    def _without_channels(self, channels: tuple[int, ...], extent: Extent) -> _Thin:
        if not any(channels):
            return _Thin(model=self.model, cfg_text=None, reference=self.reference)
        plan = {
            producer: PruneOptions(method="filter", unit=Unit(rows=1), sparsity=self.table.channel_shares[place])
            for group, place in zip(self.table.groups, channels, strict=True)
            for producer in group.producers
            if place
        }
        model = self.model
        masks = masks_of(prune_layers(model.network, model.weights, plan))
        cleared = clear_channels(model.network, model.weights, masks)
        refitted = self.reference.refit(cleared, masks, extent)
        small = shrink_network(model.network, refitted.weights, masks)
        thin = replace(model, network=small.network, weights=small.weights)
        return _Thin(model=thin, cfg_text=small.cfg_text, reference=Reference(thin.network, thin.weights, self.images))
