"""Micro-trainings: it learns, masks hold exactly, and a killed run goes on bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.data import DataSet, load_data
from clprune.errors import DataError, FileError, LaunchError, UsageError
from clprune.progress import Progress
from clprune.pruning.network import masks_of, plan_pruning, prune_layers
from clprune.pruning.settings import PruneSettings
from clprune.training import Recipe, evaluate, load_module, prune_and_retrain, train
from clprune.training.augment import draw_augmentation
from clprune.training.held_masks import HeldMasks
from clprune.training.loop import make_optimiser
from clprune.unit import Unit
from tests.training.networks import MICRO, network_of

RECIPE = Recipe(epochs=2, batch=16, learning_rate=0.05, seed=3)


def data_of(count: int = 96, split: str = "train") -> DataSet:
    return load_data("synthetic", split=split, height=8, width=8, count=count)  # type: ignore[arg-type]


def settings_of(sparsity: float = 0.6) -> PruneSettings:
    return PruneSettings(
        method="workgroup", sparsity=sparsity, fc_sparsity=0.5, unit_for_layer=lambda layer: Unit(rows=4)
    )


def assert_same(first: Weights, second: Weights) -> None:
    for one, other in zip(first.layers, second.layers, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            for name in ("weights", "biases", "scales", "mean", "variance"):
                assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_few_epochs_learn_the_patterns(tmp_path: Path, optimiser: str) -> None:
    rate = 0.05 if optimiser == "sgd" else 0.005
    recipe = replace(RECIPE, epochs=6, optimiser=optimiser, learning_rate=rate)  # type: ignore[arg-type]
    reports: list[Progress] = []
    result = train(network_of(tmp_path), data_of(320), recipe, validation=data_of(100, "test"), report=reports.append)
    assert result.losses[-1] < result.losses[0]
    assert result.accuracies[-1] > 0.5
    assert [report.part for report in reports if report.is_milestone] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].figures["accuracy"] == result.accuracies[-1]
    assert result.weights.seen == 6 * 320


def test_a_batch_of_more_than_there_is_counts_what_there_is(tmp_path: Path) -> None:
    """In the header of weights, and in the images of a second, which no machine trains by the billion."""
    reports: list[Progress] = []
    recipe = replace(RECIPE, epochs=2, batch=10**12)
    assert train(network_of(tmp_path), data_of(8), recipe, report=reports.append).weights.seen == 16
    rates = [report.figures["images/s"] for report in reports if "images/s" in report.figures]
    assert rates and max(rates) < 1e9


def test_the_same_seed_gives_the_same_weights_and_leaves_torch_alone(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = train(network, data_of(), RECIPE)
    assert torch.equal(torch.rand(3), expected)
    assert_same(first.weights, train(network, data_of(), RECIPE).weights)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_masks_hold_exactly_through_training(tmp_path: Path, optimiser: str) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=1)
    masks = masks_of(prune_layers(network, weights, plan_pruning(network, weights, settings_of())))
    assert sorted(masks) == [1, 3, 5]
    recipe = replace(RECIPE, optimiser=optimiser, learning_rate=0.01)  # type: ignore[arg-type]
    trained = train(network, data_of(), recipe, weights=weights, masks=masks).weights
    for index, mask in masks.items():
        values = trained.layers[index]
        assert values is not None
        matrix = values.weights.reshape(mask.shape)
        assert_array_equal(matrix[~mask], 0.0)
        assert np.count_nonzero(matrix) == np.count_nonzero(mask)
    assert weights.layers[1] is not None
    assert np.count_nonzero(weights.layers[1].weights) == weights.layers[1].weights.size


def test_momentum_of_removed_weights_stays_zero(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=1)
    module = load_module(network, weights)
    masks = masks_of(prune_layers(network, weights, plan_pruning(network, weights, settings_of())))
    held = HeldMasks(module, masks)
    optimiser = make_optimiser(module, RECIPE)
    for _ in range(3):
        optimiser.zero_grad()
        module(torch.from_numpy(data_of().batch(range(16)))).square().mean().backward()
        held.clear_gradients()
        optimiser.step()
        held.clear_weights()
    for index, mask in masks.items():
        momentum = optimiser.state[module.layers[index].weights]["momentum_buffer"]
        assert_array_equal(momentum.reshape(mask.shape).numpy()[~mask], 0.0)


class Killed(Exception):
    """Stands for whatever ends a run from outside."""


def killer(after: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.part > after:
            raise Killed

    return report


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, optimiser: str) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=1)
    masks = masks_of(prune_layers(network, weights, plan_pruning(network, weights, settings_of())))
    recipe = replace(RECIPE, epochs=4, optimiser=optimiser)  # type: ignore[arg-type]
    whole = train(network, data_of(), recipe, weights=weights, masks=masks)
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Killed):
        train(network, data_of(), recipe, weights=weights, masks=masks, checkpoint=checkpoint, report=killer(2))
    epochs: list[int] = []
    resumed = train(
        network,
        data_of(),
        recipe,
        weights=weights,
        masks=masks,
        checkpoint=checkpoint,
        report=lambda progress: epochs.append(progress.part),
    )
    assert set(epochs) == {3, 4}
    assert resumed.losses == whole.losses
    assert_same(resumed.weights, whole.weights)
    finished = train(network, data_of(), recipe, weights=weights, masks=masks, checkpoint=checkpoint)
    assert_same(finished.weights, whole.weights)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    checkpoint = tmp_path / "run.checkpoint"
    train(network, data_of(), replace(RECIPE, epochs=1), checkpoint=checkpoint)
    with pytest.raises(FileError, match="belongs to a run with another"):
        train(network, data_of(), replace(RECIPE, epochs=1, learning_rate=0.01), checkpoint=checkpoint)
    start = checkpoint.read_bytes()[: len(b"clprune checkpoint 1\n")]
    # a right digest says nothing of what it is the digest of
    for content in (
        b"half a file",
        *(start + hashlib.sha256(rest).digest() + rest for rest in (b"", b"PK\3\4 no archive")),
    ):
        checkpoint.write_bytes(content)
        with pytest.raises(FileError, match="not a whole checkpoint"):
            train(network, data_of(), replace(RECIPE, epochs=1), checkpoint=checkpoint)


def test_prune_and_retrain_in_steps(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    dense = train(network, data_of(320), replace(RECIPE, epochs=5)).weights
    report = prune_and_retrain(
        network,
        dense,
        settings_of(0.75),
        data=data_of(320),
        recipe=replace(RECIPE, epochs=2),
        steps=2,
        validation=data_of(100, "test"),
    )
    assert sorted(report.plan) == [1, 3, 5]
    assert report.plan[1].sparsity == 0.75 and report.plan[3].sparsity == 0.5
    assert len(report.losses) == 4
    pruned, removed = report.weights, {layer.index: layer.removed_share for layer in report.layers}
    for index, share in removed.items():
        values = pruned.layers[index]
        assert values is not None
        assert np.mean(values.weights == 0) == pytest.approx(share)
    assert removed[1] == pytest.approx(0.75, abs=0.05)
    assert report.accuracy_after == evaluate(load_module(network, pruned), data_of(100, "test")).accuracy
    assert report.accuracy_before is not None and report.accuracy_after > 0.3


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    wide = load_data("synthetic", split="train", height=8, width=9, count=20)
    with pytest.raises(UsageError, match=r"images of 3x8x9, .* takes 3x8x8"):
        train(network, wide, RECIPE)
    many = replace(data_of(), class_names=tuple(str(index) for index in range(11)))
    with pytest.raises(UsageError, match=r"11 classes, .* has only 10 outputs"):
        train(network, many, RECIPE)
    with pytest.raises(UsageError, match="a mask for layer 2"):
        train(network, data_of(), RECIPE, masks={2: np.ones((1, 1), bool)})
    with pytest.raises(UsageError, match=r"a mask of \(10, 5\) for layer 1"):
        train(network, data_of(), RECIPE, masks={1: np.ones((10, 5), bool)})


@pytest.mark.parametrize("filters", [2**31 - 1, 10**8])
def test_what_nobody_has_memory_for_is_refused_before_it_is_made(tmp_path: Path, filters: int) -> None:
    network = network_of(tmp_path, MICRO.replace("filters=6", f"filters={filters}"))
    with pytest.raises(LaunchError, match=r"training 16 images at once needs at least \d+ bytes"):
        train(network, data_of(), RECIPE)


def test_a_network_without_weights_cannot_learn(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[net]\nwidth=8\nheight=8\nchannels=3\n[dropout]\n")
    with pytest.raises(UsageError, match="no layer has weights"):
        train(network, data_of(), RECIPE)


def test_divergence_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="diverged"):
        train(network_of(tmp_path), data_of(), replace(RECIPE, learning_rate=1e18, epochs=3))


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"momentum": 1.0}, {"weight_decay": -1.0},
        {"warm_up": 1.0}, {"label_smoothing": 1.0}, {"shift_pixels": -1}, {"seed": -1}, {"optimiser": "lion"},
        {"precision": "half"}, {"dropout_ramp": 2.0}, {"distillation": 1.5}, {"temperature": 0.0},
        {"dropout_strength": 1.5},
    ],
)  # fmt: skip
def test_recipes_check_themselves(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} .*: expected"):
        Recipe(**{"epochs": 1, **options})  # type: ignore[arg-type]


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(epochs=1, learning_rate=1.0, warm_up=0.2)
    rates = [recipe.learning_rate_at(step, steps=99) for step in range(99)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[19] == 1.0
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert 0 < rates[-1] < 0.001
    strengths = [replace(recipe, dropout_ramp=0.5).dropout_strength_at(step, steps=10) for step in range(10)]
    assert strengths == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1])
    assert replace(recipe, dropout_ramp=0.5, dropout_strength=0.3).dropout_strength_at(2, steps=10) == pytest.approx(
        0.12
    )


def test_shifting_fills_with_the_nearest_pixels() -> None:
    images = torch.arange(9.0).reshape(1, 1, 3, 3).repeat(200, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    shifted = draw_augmentation(200, shift_pixels=1, flip=False, generator=generator).apply(images)
    variants = {tuple(image.flatten().int().tolist()) for image in shifted}
    assert len(variants) == 9
    assert (4, 5, 5, 7, 8, 8, 7, 8, 8) in variants
    assert (0, 0, 1, 0, 0, 1, 3, 3, 4) in variants
    mirrored = draw_augmentation(200, shift_pixels=0, flip=True).apply(images)
    assert {tuple(image[0, 0].int().tolist()) for image in mirrored} == {(0, 1, 2), (2, 1, 0)}


class Files:
    """Images that are read when they are asked for, of which the last cannot be."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images) + 1

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        if len(self.images) in indices:
            raise DataError("not an image", path=Path("last.png"))
        return self.images[indices]


def test_an_image_that_cannot_be_read_ends_training(tmp_path: Path) -> None:
    known = data_of(95)
    data = replace(known, images=Files(known.images), labels=np.append(known.labels, 0))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="not an image"):
        train(network_of(tmp_path), data, RECIPE)


def test_what_is_composed_afresh_is_not_augmented(tmp_path: Path) -> None:
    def fresh(number: int) -> DataSet:
        return replace(data_of(), renew=None)

    network = network_of(tmp_path)
    shifted = replace(RECIPE, shift_pixels=3, flip=True)
    composed = replace(data_of(), renew=fresh)
    assert_same(train(network, composed, shifted).weights, train(network, composed, RECIPE).weights)
