"""Distillation: the loss by hand, no difference without it, and runs that go on bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.darknet.random_weights import random_weights
from clprune.errors import FileError, UsageError
from clprune.progress import Progress
from clprune.pruning.network import masks_of, plan_pruning, prune_layers
from clprune.training import Recipe, Teacher, evaluate, load_module, prune_and_retrain, train
from clprune.training.distillation import distillation_loss, teacher_module
from tests.training.networks import MICRO, network_of
from tests.training.test_train import assert_same, data_of, settings_of

RECIPE = Recipe(epochs=2, batch=16, learning_rate=0.05, seed=3, distillation=0.7, temperature=2.0)


def test_the_loss_is_the_divergence_from_the_softened_answers() -> None:
    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(2, 3, 5)).astype(np.float32)
    p, q = (np.exp(logits / 3) / np.exp(logits / 3).sum(1, keepdims=True) for logits in (teacher, student))
    expected = 9 * (p * np.log(p / q)).sum(1).mean()
    found = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature=3.0)
    assert_allclose(float(found), expected, rtol=1e-5)
    assert abs(float(distillation_loss(torch.from_numpy(teacher), torch.from_numpy(teacher), temperature=3.0))) < 1e-6


def test_a_share_of_the_loss_comes_from_the_teacher(tmp_path: Path) -> None:
    """One step of one batch, so that the reported loss is that of the first weights."""
    text = MICRO.replace("probability=.5", "probability=0")
    network = network_of(tmp_path, text)
    data = data_of(16)
    start, teacher = (random_weights(network, seed=seed) for seed in (1, 2))
    recipe = replace(RECIPE, epochs=1, label_smoothing=0.0)

    def loss_of(share: float) -> float:
        shared = replace(recipe, distillation=share)
        return train(network, data, shared, weights=start, teacher=Teacher(network=network, weights=teacher)).losses[0]

    labels_only, teacher_only = loss_of(0.0), loss_of(1.0)
    assert_allclose(loss_of(0.7), 0.3 * labels_only + 0.7 * teacher_only, rtol=1e-5)
    student = load_module(network, start).train()
    with torch.no_grad():
        images = torch.from_numpy(data.batch(slice(0, 16)))
        answers = load_module(network, teacher).eval()(images)
        expected = distillation_loss(student(images), answers, temperature=2.0)
    assert_allclose(teacher_only, float(expected), rtol=1e-4)


def test_no_share_is_training_without_a_teacher(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    teacher = Teacher(network=network, weights=random_weights(network, seed=2))
    recipe = replace(RECIPE, distillation=0.0)
    alone, taught = train(network, data_of(), recipe), train(network, data_of(), recipe, teacher=teacher)
    assert alone.losses == taught.losses
    assert_same(alone.weights, taught.weights)


def test_the_teacher_stays_as_it_is(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=2)
    module = teacher_module(Teacher(network=network, weights=weights), network, RECIPE)
    assert module is not None and not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    before = random_weights(network, seed=2)
    train(network, data_of(), RECIPE, teacher=Teacher(network=network, weights=weights))
    assert_same(weights, before)


def test_a_student_comes_to_agree_with_its_teacher(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    dense = train(network, data_of(320), replace(RECIPE, distillation=0.0, epochs=5)).weights
    taught = train(
        network,
        data_of(320),
        replace(RECIPE, distillation=1.0, epochs=6),
        teacher=Teacher(network=network, weights=dense),
    )
    assert taught.losses[-1] < 0.5 * taught.losses[0]
    assert evaluate(load_module(network, taught.weights), data_of(100, "test")).accuracy > 0.5


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    dense = random_weights(network, seed=1)
    masks = masks_of(prune_layers(network, dense, plan_pruning(network, dense, settings_of())))
    recipe = replace(RECIPE, epochs=3)
    checkpoint = tmp_path / "run.checkpoint"
    teacher = Teacher(network=network, weights=dense)

    def kill(progress: Progress) -> None:
        if progress.part == 2:
            raise KeyboardInterrupt

    whole = train(network, data_of(), recipe, weights=dense, masks=masks, teacher=teacher)
    with pytest.raises(KeyboardInterrupt):
        train(
            network, data_of(), recipe, weights=dense, masks=masks, teacher=teacher, checkpoint=checkpoint, report=kill
        )
    other = Teacher(network=network, weights=random_weights(network, seed=5))
    with pytest.raises(FileError, match="belongs to a run with another"):
        train(network, data_of(), recipe, weights=dense, masks=masks, teacher=other, checkpoint=checkpoint)
    resumed = train(network, data_of(), recipe, weights=dense, masks=masks, teacher=teacher, checkpoint=checkpoint)
    assert resumed.losses == whole.losses
    assert_same(resumed.weights, whole.weights)


@pytest.mark.parametrize("method", ["workgroup", "filter"])
def test_pruning_learns_from_what_came_in(tmp_path: Path, method: str) -> None:
    """Also where the student has fewer channels."""
    network = network_of(tmp_path)
    dense = random_weights(network, seed=1)
    settings = replace(settings_of(), method=method, fc_sparsity=None)
    recipe = replace(RECIPE, epochs=1, distillation=1.0, label_smoothing=0.0)
    report = prune_and_retrain(network, dense, settings, data=data_of(), recipe=recipe)
    assert np.isfinite(report.losses).all()
    alone = prune_and_retrain(network, dense, settings, data=data_of(), recipe=replace(recipe, distillation=0.0))
    assert any(
        one is not None and other is not None and not np.array_equal(one.weights, other.weights)
        for one, other in zip(report.weights.layers, alone.weights.layers, strict=True)
    )


def test_a_teacher_that_is_missing_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    with pytest.raises(UsageError, match=r"distillation 0\.7 without a teacher: expected a trained network"):
        train(network, data_of(), RECIPE)
    (tmp_path / "other").mkdir()
    other = network_of(tmp_path / "other", MICRO.replace("output=10", "output=9"))
    with pytest.raises(UsageError, match="a teacher of outputs 9 for a network of 10: expected the same"):
        train(network, data_of(), RECIPE, teacher=Teacher(network=other, weights=random_weights(other, seed=0)))
