"""One call from dense weights to pruned ones, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.pruning.network import (
    Masks,
    PrunedLayer,
    in_pruning_domain,
    layers_left_whole,
    masks_of,
    plan_of,
    plan_pruning,
    prune_layers,
    remove,
)
from clprune.pruning.permute import Permutation, permute_network
from clprune.pruning.report import LayerReport, describe_layers
from clprune.pruning.settings import PruneSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """What pruning made of a network: its `weights` with zeros, the `layers` that lost some, and a report on each.

    `left` maps layers that the method could not prune or reorder to the reason. `permutation` tells how channels were
    reordered (None: they were not); masks and `weights` are in the new order. Where the method removes channels,
    `clprune.pruning.shrink.shrink_network(network, weights, masks)` makes the smaller network.
    """

    weights: Weights
    layers: tuple[PrunedLayer, ...]
    reports: tuple[LayerReport, ...]
    left: Mapping[int, str]
    permutation: Permutation | None

    @property
    def plan(self) -> dict[int, PruneOptions]:
        """How each layer was pruned, by index: what `annotate_cfg` writes."""
        return plan_of(self.layers)

    @property
    def masks(self) -> Masks:
        """Where weights stay, by layer index."""
        return masks_of(self.layers)

    @property
    def permuted(self) -> Mapping[int, tuple[float, float]]:
        """Reordered layers and what `Permutation.retained` says of them."""
        return {} if self.permutation is None else self.permutation.retained


def prune_network(network: Network, weights: Weights, settings: PruneSettings) -> Pruned:
    """Prune `weights` as `settings` say, without retraining. Raises UsageError."""
    permutation = permute_for(network, weights, settings)
    dense = weights if permutation is None else permutation.weights
    dense = in_pruning_domain(network, dense, settings)
    layers = choose_layers(network, dense, settings)
    return Pruned(
        weights=remove(network, dense, layers, settings),
        layers=layers,
        reports=describe_layers(network, dense, layers, settings),
        left=left_whole(network, settings, permutation),
        permutation=permutation,
    )


def choose_layers(network: Network, weights: Weights, settings: PruneSettings) -> tuple[PrunedLayer, ...]:
    """What goes of `weights`, which are in the domain where the settings prune them. Raises UsageError."""
    plan = plan_pruning(network, weights, settings)
    return prune_layers(network, weights, plan, criterion=settings.criterion, options=settings.options)


def left_whole(network: Network, settings: PruneSettings, permutation: Permutation | None) -> dict[int, str]:
    """Layers that could not be pruned or reordered, by index, with the reason."""
    return {**layers_left_whole(network, settings), **({} if permutation is None else permutation.left)}


def permute_for(network: Network, weights: Weights, settings: PruneSettings) -> Permutation | None:
    """Reorder output channels for the units and shares of `settings` where they ask for it; the answers stay.

    That is done in the spatial domain: weights that have left it are refused. Raises UsageError.
    """
    if not settings.permute:
        return None
    for index, values in enumerate(weights.layers):
        if values is not None and values.winograd is not None:
            raise UsageError(
                f"layer {index} is in the Winograd domain, where channels keep their order: leave --permute"
            )
    plan = plan_pruning(network, weights, settings)
    return permute_network(network, weights, plan, criterion=settings.criterion_name)
