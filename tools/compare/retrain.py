"""The stage that needs PyTorch: prune the one dense network in every way and retrain each result alike.

All seeds start from the same dense weights, and masks follow from these alone: a seed moves what retraining draws, the
order of images and dropout. Spreads over seeds are spreads of retraining.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clprune.container.model import Model
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network, load_network
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights, write_weights
from clprune.dataset import DataSet
from clprune.pruning.settings import PruneSettings
from clprune.training import Recipe, evaluate, load_module, prune_and_retrain, train
from clprune.workflow.inputs import as_data
from tools.bench.machine import today
from tools.compare.data import cached_data
from tools.compare.experiment import Experiment
from tools.compare.frame import DENSE, MODELS, do_missing
from tools.compare.variants import Variant
from tools.terminal import Say

#: Of the experiment, what a row says.
REPORTED = ("images", "epochs", "learning_rate", "distillation", "temperature", "dropout_strength", "fresh")

#: Seeds of retraining count from here, so that none is the dense training's.
FIRST_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class Run:
    """One retraining."""

    variant: Variant
    sparsity: float
    seed: int

    @property
    def title(self) -> str:
        """The name of the run's files."""
        return f"{self.variant}-{100 * self.sparsity:g}-{self.seed}"

    @property
    def facts(self) -> dict[str, Any]:
        """What tells its row from those of others."""
        return {"variant": str(self.variant), "sparsity": self.sparsity, "seed": self.seed}


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What all runs start from. `choices`: share -> layer index -> what `abwsp` chose for it."""

    experiment: Experiment
    work: Path
    network: Network
    dense: Weights
    dense_accuracy: float
    images: DataSet
    held_out: DataSet
    choices: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def all_runs(variants: Sequence[Variant], sparsities: Sequence[float], *, seeds: int) -> list[Run]:
    """Every run, all of one seed before the next: a comparison that is stopped early is a whole one of fewer seeds."""
    return [
        Run(variant=variant, sparsity=sparsity, seed=seed)
        for seed in range(seeds)
        for sparsity in sparsities
        for variant in variants
    ]


def retrain_all(
    experiment: Experiment,
    runs: Sequence[Run],
    *,
    work: Path,
    say: Say,
    choices: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Do all `runs` whose rows are not in `work` yet; each adds its row when it is done.

    Raises DataError for rows of other settings in that folder, and what training raises.
    """

    def begin() -> Setting:
        return replace(prepare(experiment, work=work, say=say), choices=choices or {})

    do_missing(runs, work=work, key=experiment.key, prepare=begin, do=retrain, say=say)


def prepare(experiment: Experiment, *, work: Path, say: Say) -> Setting:
    """Read or train the dense network, and draw the images."""
    network = load_network(experiment.cfg)
    dense = _dense_weights(experiment, network, work=work, say=say)
    if experiment.fresh:
        images = as_data(experiment.data, network, split="train", count=experiment.images)
    else:
        images = cached_data(work, experiment.data, network, split="train", count=experiment.images)
    held_out = cached_data(work, experiment.data, network, split="test", count=experiment.held_out)
    accuracy = evaluate(load_module(network, dense), held_out).accuracy
    say(f"dense: accuracy {100 * accuracy:.2f} % of {len(held_out)} held-out images")
    return Setting(
        experiment=experiment,
        work=work,
        network=network,
        dense=dense,
        dense_accuracy=accuracy,
        images=images,
        held_out=held_out,
    )


def prune_settings(variant: Variant, sparsity: float) -> PruneSettings:
    """How a variant prunes a share of the convolutions' weights."""
    return PruneSettings(
        method=variant.method,
        sparsity=variant.method_sparsity(sparsity),
        unit_for_layer=lambda layer: variant.tile_unit,
        permute=variant.permute,
        options=variant.options,
    )


def retrain(setting: Setting, run: Run) -> dict[str, Any]:
    """Prune, retrain, keep the network, and say what came of it: one row."""
    experiment, variant = setting.experiment, run.variant
    method_sparsity = variant.method_sparsity(run.sparsity)
    settings = replace(prune_settings(variant, run.sparsity), variants=setting.choices.get(str(run.sparsity), {}))
    started = time.monotonic()
    report = prune_and_retrain(
        setting.network,
        setting.dense,
        settings,
        data=setting.images,
        recipe=_recipe(experiment, seed=FIRST_SEED + run.seed),
    )
    train_s = time.monotonic() - started
    evaluation = evaluate(load_module(setting.network, report.weights), setting.held_out)
    folder = setting.work / MODELS
    folder.mkdir(exist_ok=True)
    report.model.save(folder / run.title, file_format="packed")
    return {
        "variant": str(variant),
        "method": variant.method,
        "permute": variant.permute,
        "sparsity": run.sparsity,
        "method_sparsity": method_sparsity,
        "seed": run.seed,
        "unit": " ".join(sorted({str(options.unit) for options in report.plan.values()})),
        "kept_share": _kept_share(Model(network=setting.network, weights=report.weights)),
        "accuracy": evaluation.accuracy,
        "held_out_loss": evaluation.loss,
        "dense_accuracy": setting.dense_accuracy,
        "held_out": evaluation.images,
        **{name: getattr(experiment, name) for name in REPORTED},
        "loss": report.losses[-1],
        "train_s": round(train_s, 1),
        "date": today(),
    }


def _recipe(experiment: Experiment, *, seed: int) -> Recipe:
    shared = {field.name for field in fields(Recipe)} & vars(experiment).keys()
    return Recipe(**{name: getattr(experiment, name) for name in shared}, dropout_ramp=0.0, seed=seed)


def _dense_weights(experiment: Experiment, network: Network, *, work: Path, say: Say) -> Weights:
    if experiment.dense is not None:
        return read_weights(experiment.dense, network)
    path = work / DENSE
    if path.exists():
        return read_weights(path, network)
    say("training the dense network")
    data = as_data(experiment.data, network, split="train", count=experiment.dense_images)
    if data.renew is None:
        data = cached_data(work, experiment.data, network, split="train", count=experiment.dense_images)
    recipe = Recipe(
        epochs=experiment.dense_epochs,
        learning_rate=0.04,
        dropout_ramp=0.2,
        shift_pixels=experiment.shift_pixels,
        flip=experiment.flip,
        precision=experiment.precision,
    )
    weights = train(network, data, recipe, checkpoint=work / "dense.checkpoint").weights
    write_weights(path, network, weights)
    return weights


def _kept_share(model: Model) -> float:
    """The share of the weights of all convolutions that are not zero."""
    layers = zip(model.network.layers, model.weights.layers, strict=True)
    arrays = [values.weights for layer, values in layers if isinstance(layer, Convolutional) and values is not None]
    return sum(map(np.count_nonzero, arrays)) / sum(array.size for array in arrays)
