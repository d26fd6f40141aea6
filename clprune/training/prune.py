"""Prune and retrain: masks from a method, held while the network learns to do without what they removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.dataset import DataSet
from clprune.progress import OnProgress, share_of
from clprune.pruning.network import PrunedLayer, masks_of, remove
from clprune.pruning.prune import Pruned, choose_layers, prepare
from clprune.pruning.registry import get_method
from clprune.pruning.schedule import sparsity_steps
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import expand_weights, shrink_network
from clprune.pruning.variants import VariantChoice
from clprune.training.distillation import Teacher
from clprune.training.evaluate import evaluate
from clprune.training.loop import train
from clprune.training.module import load_module
from clprune.training.recipe import Recipe
from clprune.training.refit import refit_network
from clprune.training.variants import CALIBRATION_IMAGES, LayerTimes, choose_layer_variants


@dataclass(frozen=True, kw_only=True, eq=False)
class PruneReport(Pruned):
    """What was removed and how retraining went.

    `layers` have the masks of the last step, `reports` what they took from the weights that came in.
    `accuracy_before` (dense), `accuracy_masked` (last masks, before retraining) and `accuracy_after` are on the
    validation data, None without it. `losses` are one per epoch of all steps. `choices` are those of a method that is
    chosen by layer.
    """

    losses: tuple[float, ...]
    choices: tuple[VariantChoice, ...] = ()
    accuracy_before: float | None = None
    accuracy_masked: float | None = None
    accuracy_after: float | None = None


def prune_and_retrain(
    network: Network,
    weights: Weights,
    settings: PruneSettings,
    *,
    data: DataSet,
    recipe: Recipe,
    steps: int = 1,
    refit: bool = False,
    validation: DataSet | None = None,
    checkpoint: str | Path | None = None,
    report: OnProgress | None = None,
    layer_times: LayerTimes | None = None,
) -> PruneReport:
    """Prune `weights` as `settings` say and retrain `recipe.epochs` epochs after each of `steps` rising sparsities.

    Each step's masks come from the weights as the step before left them, and what is zero stays zero. With `refit` what
    stays is fitted to the dense network's layers before it is retrained (`clprune.training.refit`). A recipe with
    `distillation` learns from the network and the weights that came in. Where `settings` ask for it, channels are
    reordered before the first step; the weights that come back are in that order. A method that removes channels trains
    the smaller network, and what comes back has zeros in their place: `shrink_network(network, weights, masks)` takes
    them out. With `layer_times`, a method that is chosen by layer is so before the first step, judged on
    `CALIBRATION_IMAGES` of `data` (else the variants of `settings` hold). The checkpoint's file name gets the step's
    number. Raises UsageError and what `train` raises.
    """
    teacher = Teacher(network=network, weights=weights)
    before = _accuracy(network, weights, validation)
    dense, permutation = prepare(network, weights, settings)
    weights = dense
    choices: tuple[VariantChoice, ...] = ()
    if get_method(settings.method).selection is not None and layer_times is not None:
        images = data.drawn(CALIBRATION_IMAGES)
        choices = choose_layer_variants(network, weights, settings, calibration=images, layer_times=layer_times)
        settings = replace(settings, variants={choice.layer: choice.variant for choice in choices})
    masked: float | None = None
    layers: tuple[PrunedLayer, ...] = ()
    losses: tuple[float, ...] = ()
    for number, step_settings in enumerate(_settings_of_steps(settings, steps=steps), start=1):
        layers = choose_layers(network, weights, step_settings)
        weights = remove(network, weights, layers, settings)
        if refit:
            weights = refit_network(network, dense, weights, masks_of(layers), data)
        masked = _accuracy(network, weights, validation)
        small = shrink_network(network, weights, masks_of(layers)) if settings.removes_channels else None
        result = train(
            network if small is None else small.network,
            data,
            replace(recipe, seed=recipe.seed + number),
            weights=weights if small is None else small.weights,
            masks=masks_of(layers) if small is None else None,
            teacher=teacher,
            checkpoint=None if checkpoint is None else Path(f"{checkpoint}.{number}"),
            report=share_of(report, number=number - 1, count=steps),
        )
        weights = result.weights if small is None else expand_weights(network, result.weights, small.kept)
        losses += result.losses
    return PruneReport(
        network=network,
        settings=settings,
        dense=dense,
        weights=weights,
        layers=layers,
        permutation=permutation,
        losses=losses,
        choices=choices,
        accuracy_before=before,
        accuracy_masked=masked,
        accuracy_after=_accuracy(network, weights, validation),
    )


def _settings_of_steps(settings: PruneSettings, *, steps: int) -> list[PruneSettings]:
    """The same settings with the shares of each step."""
    shares = sparsity_steps(settings.sparsity, steps=steps)
    connected_shares = sparsity_steps(settings.fc_sparsity or 0.0, steps=steps)
    return [
        replace(settings, sparsity=share, fc_sparsity=None if settings.fc_sparsity is None else connected_share)
        for share, connected_share in zip(shares, connected_shares, strict=True)
    ]


def _accuracy(network: Network, weights: Weights, validation: DataSet | None) -> float | None:
    return None if validation is None else evaluate(load_module(network, weights), validation).accuracy
