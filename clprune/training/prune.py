"""Prune and retrain: masks from a method, held while the network learns to do without what they removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clprune.darknet.layers import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.weights import Weights
from clprune.data import DataSet
from clprune.pruning.network import PruneSettings, apply_masks, make_masks, plan_pruning, removed_share
from clprune.pruning.schedule import sparsity_steps
from clprune.training.convert import load_module
from clprune.training.evaluate import evaluate
from clprune.training.loop import Report, train
from clprune.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """What was removed and how retraining went.

    `plan` is the last step's, by layer index: what `annotate_cfg` writes. `removed` is the share of each layer's
    weights that is gone. `accuracy_before` (dense), `accuracy_masked` (last masks, before retraining) and
    `accuracy_after` are on the validation data, None without it. `losses` are one per epoch of all steps.
    """

    plan: Mapping[int, PruneOptions]
    removed: Mapping[int, float]
    losses: tuple[float, ...]
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
    validation: DataSet | None = None,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> tuple[Weights, PruneReport]:
    """Prune `weights` as `settings` say and retrain `recipe.epochs` epochs after each of `steps` rising sparsities.

    Each step's masks come from the weights as the step before left them, and what is zero stays zero. The checkpoint's
    file name gets the step's number. Raises UsageError and what `train` raises.
    """
    before = _accuracy(network, weights, validation)
    masked: float | None = None
    plan: dict[int, PruneOptions] = {}
    removed: dict[int, float] = {}
    losses: tuple[float, ...] = ()
    shares = sparsity_steps(settings.sparsity, steps=steps)
    connected_shares = sparsity_steps(settings.fc_sparsity or 0.0, steps=steps)
    for number, (share, connected_share) in enumerate(zip(shares, connected_shares, strict=True), start=1):
        fc_sparsity = None if settings.fc_sparsity is None else connected_share
        step_settings = replace(settings, sparsity=share, fc_sparsity=fc_sparsity)
        plan = plan_pruning(network, weights, step_settings)
        masks = make_masks(network, weights, plan, criterion=settings.criterion)
        removed = {index: removed_share(mask) for index, mask in masks.items()}
        weights = apply_masks(weights, masks)
        masked = _accuracy(network, weights, validation)
        result = train(
            network,
            data,
            replace(recipe, seed=recipe.seed + number),
            weights=weights,
            masks=masks,
            checkpoint=None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.{number}"),
            report=report,
        )
        weights = result.weights
        losses += result.losses
    return weights, PruneReport(
        plan=plan,
        removed=removed,
        losses=losses,
        accuracy_before=before,
        accuracy_masked=masked,
        accuracy_after=_accuracy(network, weights, validation),
    )


def _accuracy(network: Network, weights: Weights, validation: DataSet | None) -> float | None:
    return None if validation is None else evaluate(load_module(network, weights), validation).accuracy
