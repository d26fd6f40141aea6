"""Pictures without labels: networks learn what the dense one answers, and are measured by their agreement with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clprune
from clprune import UnsupportedLayerError, UsageError
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.data import load_data
from clprune.training import Recipe, Teacher, train
from clprune.training.distillation import heads_loss
from clprune.unit import Unit
from tests.detection.models import write_detector

HEADS = {
    "yolo": (16, "[yolo]\nmask=0,1\nanchors=6,8, 9,9\nnum=2\nclasses=3\n"),
    "new": (16, "[yolo]\nmask=0,1\nanchors=6,8, 9,9\nnum=2\nclasses=3\nnew_coords=1\n"),
    "gaussian": (24, "[Gaussian_yolo]\nmask=1,0\nanchors=6,8, 9,9\nnum=2\nclasses=3\n"),
    "region": (16, "[region]\nanchors=1,1.5, 2,1\nnum=2\nclasses=3\nsoftmax=1\n"),
    "v1": (13, "[connected]\noutput=52\n[detection]\nside=2\nnum=2\nclasses=3\ncoords=4\n"),
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten pictures, some in a folder of their own."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("more" if number > 6 else "") / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_zero_for_the_same_values_and_falls_towards_them(tmp_path: Path, name: str) -> None:
    filters, head = HEADS[name]
    cfg = tmp_path / "head.cfg"
    body = f"[net]\nwidth=16\nheight=8\nchannels=3\n[convolutional]\nfilters={filters}\nsize=1\nstride=4\n"
    cfg.write_text(body + head)
    network = load_network(cfg)
    generator = torch.Generator().manual_seed(0)
    teacher = torch.rand((2, network.outputs), generator=generator)
    values = torch.rand((2, network.outputs), generator=generator).requires_grad_()
    assert float(heads_loss(network, teacher, teacher)) == pytest.approx(0, abs=1e-6)
    loss = heads_loss(network, values, teacher)
    assert float(loss.detach()) > 0.01
    loss.backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert bool((values.grad != 0).any(dim=0).all())  # every value learns
    assert float(heads_loss(network, values.detach() - 0.1 * values.grad, teacher)) < float(loss.detach())


def test_boxes_count_by_the_teachers_objectness(tmp_path: Path) -> None:
    filters, head = HEADS["yolo"]
    cfg = tmp_path / "head.cfg"
    cfg.write_text(
        f"[net]\nwidth=4\nheight=4\nchannels=3\n[convolutional]\nfilters={filters}\nsize=1\nstride=4\n{head}"
    )
    network = load_network(cfg)
    teacher = torch.zeros((1, 16))
    teacher[0, 4], teacher[0, 12] = 20, -20  # an object at the first anchor, none at the second
    moved = teacher.clone()
    moved[0, 10] = 2  # the width of the second
    assert float(heads_loss(network, moved, teacher)) == pytest.approx(0, abs=1e-6)
    moved[0, 2] = 2  # of the first: half of 2^2, over one object and one image
    assert float(heads_loss(network, moved, teacher)) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("device_context")
def test_a_detector_is_pruned_and_quantized(pictures: Path, tmp_path: Path) -> None:
    cfg = write_detector(tmp_path / "model.cfg")
    data = f"images:{pictures}"
    result = clprune.prune(cfg, data=data, sparsity=0.5, unit=Unit.parse("4x1"), epochs=2)
    assert result.before is not None
    assert result.after is not None
    assert result.before.accuracy == pytest.approx(1)  # it agrees with itself
    assert 0 <= result.after.accuracy < 1
    plain = clprune.prune(cfg, data=data, sparsity=0.5, unit=Unit.parse("4x1"), epochs=2, refit=False)
    assert plain.after is not None
    assert plain.losses[0] > result.losses[0]  # what stays is refitted first where nothing else is said
    assert result.after.largest_error < 1e-4
    assert result.report is not None
    assert len(result.held_out) == 2
    quantized = clprune.quantize(cfg, out=tmp_path / "small", data=data)
    assert quantized.accuracy_before == pytest.approx(1)
    assert quantized.accuracy_after is not None
    assert quantized.accuracy_after > 0.5
    for wrong in ("synthetic", "digits"):
        with pytest.raises(UsageError, match="labels whole images: expected images:PATH"):
            clprune.prune(cfg, data=wrong, sparsity=0.5)
    with pytest.raises(UnsupportedLayerError, match="cannot be trained: expected a classifier, or images:PATH"):
        clprune.train(cfg, data=data)


def test_a_detector_keeps_the_statistics_of_its_normalization(pictures: Path, tmp_path: Path) -> None:
    cfg = tmp_path / "head.cfg"
    filters, head = HEADS["yolo"]
    cfg.write_text(
        "[net]\nwidth=32\nheight=24\nchannels=3\n[convolutional]\nfilters=8\nsize=3\nstride=4\nbatch_normalize=1\n"
        f"activation=leaky\n[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n{head}"
    )
    network = load_network(cfg)
    teacher, start = (random_weights(network, seed=seed) for seed in (1, 2))
    data = load_data(f"images:{pictures}", split="train", height=24, width=32)
    recipe = Recipe(epochs=4, batch=4, learning_rate=0.1, distillation=1.0)
    result = train(network, data, recipe, weights=start, teacher=Teacher(network=network, weights=teacher))
    assert result.losses[-1] < result.losses[0]
    before, after = start.layers[0], result.weights.layers[0]
    assert before is not None
    assert after is not None
    assert before.mean is not None
    assert before.variance is not None
    assert before.scales is not None
    assert np.array_equal(before.mean, after.mean)  # type: ignore[arg-type]
    assert np.array_equal(before.variance, after.variance)  # type: ignore[arg-type]
    assert not np.array_equal(before.scales, after.scales)  # type: ignore[arg-type]


@pytest.mark.usefixtures("device_context")
def test_a_classifier_learns_its_own_answers(pictures: Path, tmp_path: Path) -> None:
    cfg = tmp_path / "small.cfg"
    cfg.write_text(
        "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=8\nsize=3\nactivation=relu\n"
        "[connected]\noutput=10\nactivation=linear\n[softmax]\n"
    )
    dense = clprune.train(cfg, data="synthetic", count=64, out=tmp_path / "dense").model
    result = clprune.prune(dense, data=f"images:{pictures}", sparsity=0.0, fc_sparsity=0.5)
    assert result.before is not None
    assert result.before.accuracy == 1
    with pytest.raises(UsageError, match="has no labels: expected images with classes"):
        clprune.evaluate(dense, data=f"images:{pictures}")
    with pytest.raises(UsageError, match="has no labels: expected images with classes"):
        clprune.train(cfg, data=f"images:{pictures}")
