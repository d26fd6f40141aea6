"""Pruned networks fitted to what their layers put out before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("torch", reason="training needs PyTorch")
# what follows needs it

from clprune.container.model import load_model
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.data import load_data
from clprune.dataset import DataSet
from clprune.pruning.network import layer_values
from clprune.pruning.prune import prune_network
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import clear_channels
from clprune.training.refit import AS_IS, QUICK, WHOLE, Reference
from clprune.unit import Unit
from tests.pruning.networks import BRANCHES, CHAIN, load

MODEL = Path(__file__).parents[2] / "models/vgg16-digits.cfg"


def images(network: Network, count: int = 40) -> DataSet:
    shape = network.input
    data = load_data("synthetic", split="train", height=shape.height, width=shape.width, count=count)
    return DataSet.unlabelled(name="drawn", images=np.repeat(data.images, 2, axis=1)[:, : shape.channels])


@pytest.mark.parametrize("cfg", [CHAIN, BRANCHES])
@pytest.mark.parametrize("method", ["workgroup", "unstructured", "filter", "bwsp"])
def test_the_answers_come_nearer(tmp_path: Path, cfg: str, method: str) -> None:
    network, weights = load(tmp_path, cfg)
    reference = Reference(network, weights, images(network))
    settings = PruneSettings(method=method, sparsity=0.4, unit_for_layer=lambda layer: Unit(rows=4))
    pruned = prune_network(network, weights, settings)
    before = reference.refit(pruned.weights, pruned.masks, AS_IS)
    after = reference.refit(pruned.weights, pruned.masks)
    assert after.divergence < before.divergence
    for index, mask in pruned.masks.items():
        values = layer_values(after.weights, index).weights
        assert not values.reshape(mask.shape)[~mask].any()


def test_what_lost_nothing_stays(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    reference = Reference(network, weights, images(network))
    refitted = reference.refit(weights, {})
    assert refitted.divergence == 0
    assert all(new is old for new, old in zip(refitted.weights.layers, weights.layers, strict=True))


def test_a_layer_that_inputs_do_not_need_is_fitted_exactly(tmp_path: Path) -> None:
    """Two equal inputs of a connected layer: the weight of one takes over that of the other."""
    cfg = tmp_path / "two.cfg"
    cfg.write_text("[net]\ninputs=3\n[connected]\noutput=2\nactivation=linear\n")
    network = load_network(cfg)
    weights = random_weights(network, seed=0)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3, 1, 1), np.uint8)
    pixels[:, 1] = pixels[:, 0]
    data = DataSet.unlabelled(name="equal", images=pixels)
    mask = np.array([[True, False, True], [True, False, True]])
    values = layer_values(weights, 0)
    pruned = replace(weights, layers=(replace(values, weights=np.where(mask, values.weights, 0).astype(np.float32)),))
    fitted = layer_values(Reference(network, weights, data).refit(pruned, {0: mask}).weights, 0)
    expected = np.stack([values.weights[:, 0] + values.weights[:, 1], values.weights[:, 2]], axis=1)
    assert_allclose(fitted.weights[:, [0, 2]], expected, atol=0.02)
    assert_array_equal(fitted.weights[:, 1], 0)


@pytest.mark.slow
def test_half_of_what_masking_loses_comes_back_without_labels() -> None:
    from clprune.training import evaluate, load_module

    model = load_model(MODEL)
    train, test = (load_data("digits-on-photos", split=split, height=32, width=32, count=300)
                   for split in ("train", "test"))  # fmt: skip
    settings = PruneSettings(method="workgroup", sparsity=0.75, unit_for_layer=lambda layer: Unit(rows=8))
    pruned = prune_network(model.network, model.weights, settings)
    fitted = Reference(model.network, model.weights, train).refit(pruned.weights, pruned.masks).weights
    dense, masked, refitted = (
        evaluate(load_module(model.network, each), test).accuracy for each in (model.weights, pruned.weights, fitted)
    )
    assert dense - refitted < (dense - masked) / 2


def test_a_channel_that_the_judging_images_leave_silent_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other images need it: the layer that reads it is not fitted as if it gave nothing; where it is gone, it is."""
    monkeypatch.setattr("clprune.training.refit.JUDGED_WORK", 0)
    cfg = tmp_path / "two.cfg"
    layer = "[convolutional]\nfilters=2\nsize=1\nactivation="
    cfg.write_text(f"[net]\nwidth=1\nheight=1\nchannels=2\n{layer}relu\n{layer}linear\n")
    network = load_network(cfg)
    first, second = random_weights(network, seed=0).layers
    rows = np.array([[1, -0.5], [1, 2]], np.float32).reshape(2, 2, 1, 1)
    first = replace(first, weights=rows, biases=np.array([0.15, 0], np.float32))
    weights = replace(random_weights(network, seed=0), layers=(first, second))
    pixels = np.random.default_rng(0).integers(1, 256, (128, 2, 1, 1), np.uint8)
    pixels[:64, 0] = 0  # one batch judges
    reference = Reference(network, weights, DataSet.unlabelled(name="drawn", images=pixels))
    assert reference.judged == 64
    for kept, is_gone in (([True, False], False), ([False, False], True)):
        mask = np.array([kept, [True, True]])
        own = replace(
            first,
            weights=np.where(mask.reshape(rows.shape), rows, 0).astype(np.float32),
            biases=np.where(mask.any(axis=1), first.biases, 0).astype(np.float32),
        )
        pruned = replace(weights, layers=(own, second))
        fitted = layer_values(reference.refit(pruned, {0: mask}, QUICK).weights, 1)
        assert np.array_equal(fitted.weights, second.weights) != is_gone


def test_channels_gone_one_after_another_are_made_up_for_in_a_quick_look(tmp_path: Path) -> None:
    """What stays of a layer whose inputs changed and lost channels, too, is fitted to the ones it has."""
    network, weights = load(tmp_path, CHAIN)
    reference = Reference(network, weights, images(network))
    pruned = prune_network(network, weights, PruneSettings(method="filter", sparsity=0.4))
    cleared = clear_channels(network, pruned.weights, pruned.masks)
    looks = {extent: reference.refit(cleared, pruned.masks, extent).divergence for extent in (AS_IS, QUICK, WHOLE)}
    assert looks[WHOLE] < looks[QUICK] < 0.25 * looks[AS_IS]
