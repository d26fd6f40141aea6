"""What a selection makes of a model: channels gone, masks in what is left, and both fitted to the dense network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clprune.container.model import Model
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.rewrite import annotate_cfg
from clprune.dataset import DataSet
from clprune.fitting.build import in_domain, removed
from clprune.fitting.stored import FLOAT_BITS, rounded
from clprune.fitting.table import Selection, Table
from clprune.pruning.network import Masks, masks_of, prune_layers, with_prune_options
from clprune.pruning.shrink import clear_channels, shrink_network
from clprune.training.refit import Reference
from clprune.unit import Unit


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


def apply(selection: Selection, table: Table, model: Model, reference: Reference, images: DataSet) -> Applied:
    """Prune `model` as `selection` says; `reference` is that of `model` and `images`. Raises UsageError."""
    thin, text, base = model, None, reference
    if any(selection.channels):
        plan = {
            producer: PruneOptions(method="filter", unit=Unit(rows=1), sparsity=table.channel_shares[place])
            for group, place in zip(table.groups, selection.channels, strict=True)
            for producer in group.producers
            if place
        }
        masks = masks_of(prune_layers(model.network, model.weights, plan))
        cleared = clear_channels(model.network, model.weights, masks)
        small = shrink_network(model.network, reference.refit(cleared, masks).weights, masks)
        thin, text = replace(model, network=small.network, weights=small.weights), small.cfg_text
        base = Reference(thin.network, thin.weights, images)
    chosen = {index: table.entries[index][place] for index, place in selection.entries.items()}
    options = {index: entry.options for index, entry in chosen.items() if entry.options is not None}
    bits = {index: entry.bits for index, entry in chosen.items() if entry.bits != FLOAT_BITS}
    weights = in_domain(thin, options)
    layers = prune_layers(thin.network, weights, options)
    refitted = base.refit(removed(weights, layers), masks_of(layers))
    answers = refitted.answers
    if bits:
        answers = base.refit(rounded(thin.network, refitted.weights, bits), {}, only=()).answers
    return Applied(
        selection=selection,
        model=Model(
            network=with_prune_options(thin.network, options),
            weights=refitted.weights,
            cfg_text=annotate_cfg(model.path, options, text=text),
            names_path=model.names_file,
        ),
        masks=masks_of(layers),
        bits=bits,
        divergence=reference.divergence_of(answers),
    )
