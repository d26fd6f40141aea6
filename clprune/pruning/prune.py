"""One call from dense weights to pruned ones, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from clprune.container.model import Model
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.rewrite import annotate_cfg
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
    with_prune_options,
)
from clprune.pruning.permute import Permutation, permute_network
from clprune.pruning.report import LayerReport, describe_layers
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import shrink_network


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """What pruning by `settings` made of `network`: its `weights` with zeros, and the `layers` that lost some.

    `dense` are the weights before, in the domain where they were pruned. `permutation` tells how channels were
    reordered (None: they were not); masks and weights are in the new order.
    """

    network: Network
    settings: PruneSettings
    dense: Weights
    weights: Weights
    layers: tuple[PrunedLayer, ...]
    permutation: Permutation | None = None

    @property
    def plan(self) -> dict[int, PruneOptions]:
        """How each layer was pruned, by index: what `annotate_cfg` writes."""
        return plan_of(self.layers)

    @property
    def masks(self) -> Masks:
        """Where weights stay, by layer index."""
        return masks_of(self.layers)

    @property
    def left(self) -> dict[int, str]:
        """Layers that could not be pruned or reordered, by index, with the reason."""
        left = layers_left_whole(self.network, self.settings)
        return left if self.permutation is None else {**left, **self.permutation.left}

    @property
    def permuted(self) -> Mapping[int, tuple[float, float]]:
        """Reordered layers and what `Permutation.retained` says of them."""
        return {} if self.permutation is None else self.permutation.retained

    @cached_property
    def reports(self) -> tuple[LayerReport, ...]:
        """What became of each layer, as figures."""
        return describe_layers(self.network, self.dense, self.layers, self.settings)

    @cached_property
    def model(self) -> Model:
        """The model to run and to save: the network with its prune options; without the channels that were removed."""
        if self.settings.removes_channels:
            small = shrink_network(self.network, self.weights, self.masks)
            return Model(network=small.network, weights=small.weights, cfg_text=small.cfg_text)
        network, text = with_prune_options(self.network, self.plan), annotate_cfg(self.network.path, self.plan)
        return Model(network=network, weights=self.weights, cfg_text=text)


def prune_network(network: Network, weights: Weights, settings: PruneSettings) -> Pruned:
    """Prune `weights` as `settings` say, without retraining. Raises UsageError."""
    dense, permutation = prepare(network, weights, settings)
    layers = choose_layers(network, dense, settings)
    return Pruned(
        network=network,
        settings=settings,
        dense=dense,
        weights=remove(network, dense, layers, settings),
        layers=layers,
        permutation=permutation,
    )


def prepare(network: Network, weights: Weights, settings: PruneSettings) -> tuple[Weights, Permutation | None]:
    """(the weights in the domain where `settings` prune them, with channels reordered where they ask for it, and how).

    Channels are reordered in the spatial domain, for the units and shares of `settings`; answers stay. Raises
    UsageError, also for weights that are to be reordered and have left that domain.
    """
    if not settings.permute:
        return in_pruning_domain(network, weights, settings), None
    for index, values in enumerate(weights.layers):
        if values is not None and values.winograd is not None:
            raise UsageError(
                f"layer {index} is in the Winograd domain, where channels keep their order: leave --permute"
            )
    plan = plan_pruning(network, weights, settings)
    permutation = permute_network(network, weights, plan, criterion=settings.criterion_name)
    return in_pruning_domain(network, permutation.weights, settings), permutation


def choose_layers(network: Network, weights: Weights, settings: PruneSettings) -> tuple[PrunedLayer, ...]:
    """What goes of `weights`, which are in the domain where the settings prune them. Raises UsageError."""
    plan = plan_pruning(network, weights, settings)
    return prune_layers(network, weights, plan, criterion=settings.criterion, options=settings.options)
