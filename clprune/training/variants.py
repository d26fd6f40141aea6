"""What `abwsp` chooses by: variants of every layer, timed by someone else and judged here on calibration images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.pruning.abwsp import TIME_BUDGET, VARIANTS, VariantChoice, VariantCost, choose_variants
from clprune.pruning.network import PruneSettings, in_pruning_domain, masks_of_plan, plan_pruning
from clprune.pruning.prune import masked_weights
from clprune.training.convert import load_module
from clprune.training.estimate import refresh_statistics
from clprune.training.evaluate import ModuleEvaluation, evaluate

#: Layer index -> milliseconds of a network with these weights, which were pruned as the options say.
LayerTimes = Callable[[Network, Weights, Mapping[int, PruneOptions]], Mapping[int, float]]


def choose_layer_variants(
    network: Network,
    weights: Weights,
    settings: PruneSettings,
    *,
    calibration: DataSet,
    layer_times: LayerTimes,
    time_budget: float = TIME_BUDGET,
) -> tuple[VariantChoice, ...]:
    """`wsp` or `bwsp` for each layer that `settings` prune in the Winograd domain, with reasons, by layer index.

    Statistics of batch normalization are estimated on the `calibration` images, and loss and accuracy measured on the
    same: no held-out image has a say. `layer_times` is called once for each variant, with all layers pruned by it.
    Raises UsageError, and what `layer_times` raises.
    """
    pruned = {variant: _Pruned(network, weights, replace(settings, method=variant)) for variant in VARIANTS}
    dense = in_pruning_domain(network, weights, replace(settings, method=VARIANTS[0]))
    costs: dict[int, dict[str, VariantCost]] = {index: {} for index in pruned[VARIANTS[0]].winograd_layers}
    for variant, candidate in pruned.items():
        times = layer_times(network, candidate.weights, candidate.plan)
        for index, of_layer in costs.items():
            if index not in times:
                raise UsageError(f"no time of layer {index} with {variant}: expected one for every pruned layer")
            judged = _judge(network, _with_layer(dense, candidate.weights, index), calibration)
            of_layer[variant] = VariantCost(time_ms=times[index], loss=judged.loss, accuracy=judged.accuracy)
    return choose_variants(costs, time_budget=time_budget)


class _Pruned:
    """All layers pruned by one variant."""

    def __init__(self, network: Network, weights: Weights, settings: PruneSettings) -> None:
        prepared = in_pruning_domain(network, weights, settings)
        self.plan = plan_pruning(network, prepared, settings)
        masks = masks_of_plan(network, prepared, self.plan, settings)
        self.weights = masked_weights(network, prepared, masks, settings)

    @property
    def winograd_layers(self) -> tuple[int, ...]:
        return tuple(index for index, options in self.plan.items() if options.winograd is not None)


def _with_layer(dense: Weights, pruned: Weights, index: int) -> Weights:
    layers = list(dense.layers)
    layers[index] = pruned.layers[index]
    return replace(dense, layers=tuple(layers))


def _judge(network: Network, weights: Weights, images: DataSet) -> ModuleEvaluation:
    module = load_module(network, weights)
    refresh_statistics(module, images)
    return evaluate(module, images)
