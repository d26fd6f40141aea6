"""What a method that is chosen by layer chooses by: each variant of every layer, timed by someone else and judged here
on calibration images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.pruning.network import in_pruning_domain
from clprune.pruning.prune import prune_network
from clprune.pruning.registry import get_method
from clprune.pruning.settings import PruneSettings
from clprune.pruning.variants import VariantChoice, VariantCost
from clprune.training.estimate import refresh_statistics
from clprune.training.evaluate import ModuleEvaluation, evaluate
from clprune.training.module import load_module

#: Of the training images, by which variants are judged.
CALIBRATION_IMAGES = 1_000

#: Layer index -> milliseconds of a network with these weights, which were pruned as the options say.
LayerTimes = Callable[[Network, Weights, Mapping[int, PruneOptions]], Mapping[int, float]]


def choose_layer_variants(
    network: Network, weights: Weights, settings: PruneSettings, *, calibration: DataSet, layer_times: LayerTimes
) -> tuple[VariantChoice, ...]:
    """What the method of `settings` chooses for each layer that has a choice, with reasons, by layer index.

    Statistics of batch normalization are estimated on the `calibration` images, and loss and accuracy measured on the
    same: no held-out image has a say. `layer_times` is called once for each variant, with all layers pruned by it.
    Raises UsageError, also for a method that is not chosen by layer, and what `layer_times` raises.
    """
    selection = get_method(settings.method).selection
    if selection is None:
        raise UsageError(f"the method {settings.method} is the same for every layer: there is nothing to choose")
    dense = in_pruning_domain(network, weights, settings)
    costs: dict[int, dict[str, VariantCost]] = {}
    for variant in selection.variants:
        candidate = prune_network(network, dense, replace(settings, method=variant, permute=False))
        times = layer_times(network, candidate.weights, candidate.plan)
        for index, chosen in candidate.plan.items():
            if chosen.method != variant:
                continue  # a layer that is pruned the same way whatever is chosen
            if index not in times:
                raise UsageError(f"no time of layer {index} with {variant}: expected one for every pruned layer")
            alone = (*dense.layers[:index], candidate.weights.layers[index], *dense.layers[index + 1 :])
            judged = _judge(network, replace(dense, layers=alone), calibration)
            cost = VariantCost(time_ms=times[index], loss=judged.loss, accuracy=judged.accuracy)
            costs.setdefault(index, {})[variant] = cost
    return selection.choose(costs)


def _judge(network: Network, weights: Weights, images: DataSet) -> ModuleEvaluation:
    module = load_module(network, weights)
    refresh_statistics(module, images)
    return evaluate(module, images)
