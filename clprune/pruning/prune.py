"""One call from dense weights to pruned ones, and the parts of it that retraining repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.pruning.methods import get_method
from clprune.pruning.network import (
    Masks,
    PruneSettings,
    apply_masks,
    in_pruning_domain,
    layer_values,
    layers_left_whole,
    masks_of_plan,
    plan_pruning,
)
from clprune.pruning.permute import Permutation, permute_network
from clprune.pruning.refit import refit
from clprune.pruning.report import LayerReport, describe_layers
from clprune.pruning.shrink import clear_channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """What pruning made of a network: its `weights` with zeros, the `plan` and `masks` by layer index, and a report.

    `left` maps layers that the method could not touch to the reason. `permutation` tells how channels were reordered
    (None: they were not); `masks` and `weights` are in the new order. Where the method removes channels,
    `clprune.pruning.shrink.shrink_network(network, weights, masks)` makes the smaller network.
    """

    weights: Weights
    plan: Mapping[int, PruneOptions]
    masks: Masks
    layers: tuple[LayerReport, ...]
    left: Mapping[int, str]
    permutation: Permutation | None


def prune_network(network: Network, weights: Weights, settings: PruneSettings) -> Pruned:
    """Prune `weights` as `settings` say, without retraining. Raises UsageError."""
    permutation = permute_for(network, weights, settings) if settings.permute else None
    dense = weights if permutation is None else permutation.weights
    plan = plan_pruning(network, dense, settings)
    dense = in_pruning_domain(network, dense, settings)
    masks = masks_of_plan(network, dense, plan, settings)
    return Pruned(
        weights=masked_weights(network, dense, masks, settings),
        plan=plan,
        masks=masks,
        layers=describe_layers(network, dense, plan, masks, settings),
        left=layers_left_whole(network, settings),
        permutation=permutation,
    )


def permute_for(network: Network, weights: Weights, settings: PruneSettings) -> Permutation:
    """Reorder output channels for the units and shares of `settings`; the answers stay. Raises UsageError.

    That is done in the spatial domain: weights that have left it are refused.
    """
    for index, values in enumerate(weights.layers):
        if values is not None and values.winograd is not None:
            raise UsageError(
                f"layer {index} is in the Winograd domain, where channels keep their order: leave --permute"
            )
    plan = plan_pruning(network, weights, settings)
    return permute_network(network, weights, plan, criterion=settings.criterion_name)


def masked_weights(network: Network, weights: Weights, masks: Masks, settings: PruneSettings) -> Weights:
    """The weights with zeros where a mask says so.

    A method that removes channels clears all that belongs to them. In the Winograd domain what stays is fitted to what
    goes (`clprune.pruning.refit`), unless the settings say otherwise.
    """
    masked = apply_masks(weights, masks)
    if get_method(settings.method).removes_channels:
        return clear_channels(network, masked, masks)
    layers = list(masked.layers)
    for index, mask in masks.items() if settings.winograd_refit else ():
        values = layer_values(weights, index)
        if values.winograd is not None:
            layers[index] = refit(values, mask)
    return replace(masked, layers=tuple(layers))
