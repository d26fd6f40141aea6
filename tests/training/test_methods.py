"""Every method through pruning and retraining: masks hold, shrunk networks come back whole, permuted ones agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.darknet.random_weights import random_weights
from clprune.data import load_data
from clprune.pruning.registry import list_methods
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import shrink_network
from clprune.training import Recipe, prune_and_retrain
from clprune.unit import Unit
from tests.pruning.networks import images
from tests.random_networks import answers
from tests.training.networks import network_of

RECIPE = Recipe(epochs=1, batch=16, learning_rate=0.02, seed=1)


@pytest.mark.parametrize("method", list_methods())
def test_what_is_removed_stays_removed(tmp_path: Path, method: str) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=0)
    settings = PruneSettings(
        method=method, sparsity=0.5, fc_sparsity=0.5, unit_for_layer=lambda layer: Unit(rows=4), permute=True
    )
    data = load_data("synthetic", split="train", height=8, width=8, count=32)
    report = prune_and_retrain(network, weights, settings, data=data, recipe=RECIPE, steps=2)
    trained = report.weights
    assert sorted(report.plan) == ([1, 3] if method == "filter" else [1, 3, 5])
    assert [layer.layer for layer in report.reports] == sorted(report.plan)
    for index, mask in report.masks.items():
        values = trained.layers[index]
        assert values is not None
        assert_array_equal(values.weights.reshape(mask.shape)[~mask], 0)
        assert 0.3 < mask.mean() < 0.7


def test_the_smaller_network_was_trained(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=0)
    settings = PruneSettings(
        method="filter", sparsity=0.5, fc_sparsity=0.4, unit_for_layer=lambda layer: Unit(rows=4), first_dense=False
    )
    data = load_data("synthetic", split="train", height=8, width=8, count=32)
    report = prune_and_retrain(network, weights, settings, data=data, recipe=RECIPE, steps=2)
    trained = report.weights
    small = shrink_network(network, trained, report.masks)
    assert {index: len(kept) for index, kept in small.kept.items()} == {0: 3, 1: 5, 3: 10}
    x = images(network)
    assert_allclose(answers(small.network, small.weights, x), answers(network, trained, x), rtol=1e-12)
    assert report.left == {5: "they reach layer 6 [softmax]"}
    second = small.weights.layers[1]
    assert second is not None
    assert np.all(second.weights != 0)
