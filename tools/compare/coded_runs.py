"""Runs of a comparison of codings: prune the dense network weight by weight and retrain it, or code a pruned one.

All seeds start from the same dense weights: a seed moves what retraining draws. Each coding starts from the pruned
network of its seed, or of one that it shares with other seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clprune.container.read import read_packed
from clprune.container.write import write_packed
from clprune.darknet.fold import fold_network
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network, load_network
from clprune.darknet.quantize import quantize_network, zero_masks
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights
from clprune.dataset import DataSet
from clprune.opencl import open_device
from clprune.pruning.allocation import erdos_renyi
from clprune.pruning.network import Masks, apply_masks, masks_of, prune_layers
from clprune.pruning.schedule import sparsity_steps
from clprune.runner import Runner
from clprune.runner.calibration import activation_scales
from clprune.runner.compare import weights_kept
from clprune.training import Recipe, Teacher, evaluate, load_module, train
from clprune.training.quantize import HeldCodes, Quantization
from clprune.unit import Unit
from clprune.workflow.inputs import as_data
from tools.compare.codings import CODINGS, PRUNED, Coded, CodedRun, file_name
from tools.compare.experiment import CodedExperiment

CALIBRATION_IMAGES = 128
#: Seeds of retraining count from here, so that none is the dense training's.
FIRST_SEED = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedSetting:
    """What all runs start from."""

    experiment: CodedExperiment
    work: Path
    network: Network
    dense: Weights
    held_out: DataSet

    def images(self, seed: int) -> DataSet:
        """Training images, composed afresh for each seed and epoch."""
        experiment = self.experiment
        return as_data(experiment.data, self.network, split="train", seed=seed, count=experiment.images)

    @property
    def teacher(self) -> Teacher:
        return Teacher(network=self.network, weights=self.dense)

    def recipe(self, seed: int, *, epochs: int, learning_rate: float, is_distilled: bool = False) -> Recipe:
        """One retraining; `is_distilled` where it learns from the dense network, if the experiment has any of that."""
        experiment = self.experiment
        distilled: dict[str, Any] = {}
        if is_distilled and experiment.distillation:
            distilled = {name: getattr(experiment, name) for name in ("distillation", "temperature")}
            distilled["dropout_strength"] = experiment.distilled_dropout
        return Recipe(
            epochs=epochs,
            learning_rate=learning_rate,
            batch=experiment.batch,
            precision=experiment.precision,
            dropout_ramp=0.0,
            seed=FIRST_SEED + seed,
            **distilled,
        )

    def accuracy(self, network: Network, weights: Weights) -> float:
        """On the held-out images."""
        return evaluate(load_module(network, weights), self.held_out).accuracy


def prepare_coded(experiment: CodedExperiment, *, work: Path) -> CodedSetting:
    """Read the dense network and the held-out images, and make the folder of work."""
    network = load_network(experiment.cfg)
    held_out = as_data(experiment.data, network, split="test", count=experiment.held_out)
    dense = read_weights(experiment.dense, network)
    work.mkdir(parents=True, exist_ok=True)
    return CodedSetting(experiment=experiment, work=work, network=network, dense=dense, held_out=held_out)


def do_run(setting: CodedSetting, run: CodedRun, *, device: str | None) -> dict[str, Any]:
    """What came of one run. `device` calibrates where activations are coded."""
    if run.name == PRUNED:
        return _prune(setting, seed=run.seed)
    coded = next(coded for coded in CODINGS if coded.name == run.name)
    return _code(setting, coded, run, device=device)


def _plan(network: Network, *, sparsity: float) -> dict[int, PruneOptions]:
    """What is removed of each layer but the first: `sparsity` of all their weights together, shares by Erdos-Renyi."""
    layers = network.matrix_layers[1:]
    shapes = [(layer.weights_shape[0], math.prod(layer.weights_shape[1:])) for layer in layers]
    return {
        layer.index: PruneOptions(method="unstructured", unit=Unit(rows=1), sparsity=share)
        for layer, share in zip(layers, erdos_renyi(shapes, sparsity=sparsity), strict=True)
        if share > 0
    }


def _prune(setting: CodedSetting, *, seed: int) -> dict[str, Any]:
    """Prune the dense network in steps, retrain it after each, at last by distillation; keep it folded."""
    experiment, images = setting.experiment, setting.images(seed)
    weights, masks = _prune_in_steps(setting, images, seed=seed)
    by_labels = setting.accuracy(setting.network, weights)
    if experiment.distilled_epochs:
        weights = train(
            setting.network,
            images,
            setting.recipe(
                seed + 100 * experiment.steps,
                epochs=experiment.distilled_epochs,
                learning_rate=experiment.distilled_rate,
                is_distilled=True,
            ),
            weights=weights,
            masks=masks,
            teacher=setting.teacher,
            checkpoint=setting.work / f"pruned-{seed}-distilled.checkpoint",
        ).weights
    folded, values = fold_network(setting.network, weights)
    path = setting.work / file_name(PRUNED, seed)
    write_packed(path, folded, values)
    return {
        "accuracy": setting.accuracy(folded, values),
        "accuracy_by_labels": by_labels,
        "dense_accuracy": setting.accuracy(setting.network, setting.dense),
        "kept_share": weights_kept(folded, values),
        "size_bytes": path.stat().st_size,
        "float32_bytes": 4 * sum(layer.weights.size for layer in setting.dense.layers if layer is not None),
        "held_out": len(setting.held_out),
    }


def _prune_in_steps(setting: CodedSetting, images: DataSet, *, seed: int) -> tuple[Weights, Masks]:
    """The weights, retrained by labels after every step, and the masks of the last one."""
    experiment, weights = setting.experiment, setting.dense
    masks: Masks = {}
    shares = sparsity_steps(experiment.sparsity, steps=experiment.steps)
    for number, sparsity in enumerate(shares):
        is_last = number == len(shares) - 1
        masks = masks_of(prune_layers(setting.network, weights, _plan(setting.network, sparsity=sparsity)))
        weights = train(
            setting.network,
            images,
            setting.recipe(
                seed + 100 * number,
                epochs=experiment.epochs if is_last else experiment.step_epochs,
                learning_rate=experiment.learning_rate,
            ),
            weights=apply_masks(weights, masks),
            masks=masks,
            checkpoint=setting.work / f"pruned-{seed}-{number}.checkpoint",
        ).weights
    return weights, masks


def _code(setting: CodedSetting, coded: Coded, run: CodedRun, *, device: str | None) -> dict[str, Any]:
    """Code a pruned network and retrain it for its codes."""
    network, _ = fold_network(setting.network, setting.dense)
    weights = read_packed(setting.work / file_name(PRUNED, run.pruned_seed), network)
    images = setting.images(run.seed)
    scales = _calibrate(network, weights, images, device=device) if coded.activations else None
    learning_rate = setting.experiment.coded_rate
    result = train(
        network,
        images,
        setting.recipe(run.seed, epochs=coded.epochs, learning_rate=learning_rate, is_distilled=True),
        weights=weights,
        masks=zero_masks(network, weights),
        quantization=Quantization(settings=coded.settings, activation_scales=scales),
        teacher=setting.teacher,
    )
    path = setting.work / file_name(coded.name, run.seed)
    write_packed(path, network, result.weights)
    row: dict[str, Any] = {"size_bytes": path.stat().st_size, "kept_share": weights_kept(network, result.weights)}

    def accuracy(weights: Weights) -> float:
        """With scales layers' inputs are rounded to their codes as well."""
        module = load_module(network, weights)
        if scales is not None:
            HeldCodes(module, Quantization(settings=coded.settings, activation_scales=scales))
        return evaluate(module, setting.held_out).accuracy

    row["accuracy"] = accuracy(result.weights)
    if run.seed == run.pruned_seed:  # the same for every seed
        untrained = quantize_network(network, weights, coded.settings, activation_scales=scales)
        row["accuracy_as_coded"] = accuracy(untrained)
    return row


def _calibrate(network: Network, weights: Weights, images: DataSet, *, device: str | None) -> dict[int, float]:
    """Scales of layers' inputs from the first training images, computed on a device."""
    with open_device(device) as session, Runner(network, weights, session=session, keep_tensors=True) as runner:
        return activation_scales(runner, [images.batch(slice(0, CALIBRATION_IMAGES))])
