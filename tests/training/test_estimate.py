"""Statistics of batch normalization estimated anew: the images' own, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.data import DataSet, load_data
from clprune.training import load_module, store_weights
from clprune.training.estimate import refresh_statistics
from clprune.training.weighted_layers import Convolution
from tests.training.networks import network_of


def estimate_statistics(network: Network, weights: Weights, images: DataSet, *, batch: int) -> Weights:
    module = load_module(network, weights)
    refresh_statistics(module, images, batch=batch)
    return store_weights(module, seen=0)


def test_statistics_are_the_images_own(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=0)
    images = load_data("synthetic", split="train", height=8, width=8, count=40)
    estimated = estimate_statistics(network, weights, images, batch=40)
    first = load_module(network, weights).layers[0]
    assert isinstance(first, Convolution)
    with torch.no_grad():
        x = torch.from_numpy(images.batch(np.arange(40)))
        raw = torch.nn.functional.conv2d(x, first.weights, padding=1)
    values = estimated.layers[0]
    assert values is not None and values.mean is not None and values.variance is not None
    assert_allclose(values.mean, raw.mean((0, 2, 3)).numpy(), rtol=1e-4, atol=1e-5)
    assert_allclose(values.variance, raw.var((0, 2, 3)).numpy(), rtol=1e-4)
    for before, after in zip(weights.layers, estimated.layers, strict=True):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            for name in ("weights", "biases", "scales"):
                assert_array_equal(getattr(before, name), getattr(after, name))


def test_batches_count_alike_and_the_rest_joins_the_last(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=0)
    images = load_data("synthetic", split="train", height=8, width=8, count=35)
    whole = estimate_statistics(network, weights, images, batch=10).layers[0]
    means = []
    for chosen in (slice(0, 10), slice(10, 20), slice(20, 35)):
        part = replace(images, images=images.images[chosen], labels=images.labels[chosen])
        values = estimate_statistics(network, weights, part, batch=99).layers[0]
        assert values is not None and values.mean is not None
        means.append(values.mean)
    assert whole is not None and whole.mean is not None
    assert_allclose(whole.mean, np.mean(means, axis=0), rtol=1e-4, atol=1e-6)
