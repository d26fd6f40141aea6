"""`verify` finds the layer that is wrong, and no other."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.runner import Runner
from clprune.runner.verify import verify_network
from tests.random_networks import random_network
from tests.runner.conftest import images

Make = Callable[..., Runner]


def changed(weights: Weights, index: int, factor: float) -> Weights:
    """`weights` with one value of one layer multiplied."""
    layers = list(weights.layers)
    values = layers[index]
    assert values is not None
    array = values.weights.copy()
    array.reshape(-1)[0] *= np.float32(factor)
    layers[index] = dataclasses.replace(values, weights=array)
    return dataclasses.replace(weights, layers=tuple(layers))


@pytest.mark.parametrize("seed", range(4))
def test_every_layer_is_within_tolerance(runner_of: Make, tmp_path: Path, seed: int) -> None:
    network, weights = random_network(tmp_path, seed, batch=2)
    with runner_of(network, weights, keep_tensors=True) as runner:
        errors = verify_network(runner, weights, images(network, 2))
    assert errors
    assert all(error.is_within for error in errors), errors
    assert all(later.tolerance >= earlier.tolerance for earlier, later in itertools.pairwise(errors))


def test_wrong_layer_is_found(runner_of: Make, network_of: Callable[..., Network]) -> None:
    """The device runs other weights than the reference from layer 2 on."""
    network = network_of()
    weights = random_weights(network, seed=1)
    with runner_of(network, changed(weights, 2, 1.5), keep_tensors=True) as runner:
        errors = verify_network(runner, weights, images(network, 1))
    assert [error.is_within for error in errors if error.layer == 0] == [True]
    assert [error.is_within for error in errors if error.layer == 2] == [False]


def test_result_that_is_not_finite_is_infinitely_wrong(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of()
    weights = random_weights(network, seed=1)
    layers = list(weights.layers)
    assert layers[3] is not None
    layers[3] = dataclasses.replace(layers[3], biases=layers[3].biases * np.float32(np.inf))
    weights = dataclasses.replace(weights, layers=tuple(layers))
    with runner_of(network, weights, keep_tensors=True) as runner:
        errors = verify_network(runner, weights, images(network, 1))
    (connected,) = [error for error in errors if error.layer == 3]
    assert connected.relative_error == float("inf")
    assert not connected.is_within


def test_shared_buffers_cannot_be_verified(runner_of: Make, network_of: Callable[..., Network]) -> None:
    network = network_of()
    weights = random_weights(network, seed=1)
    with runner_of(network, weights) as runner, pytest.raises(UsageError, match="keep_tensors=True"):
        verify_network(runner, weights, images(network, 1))


def test_weights_that_are_not_finite_are_refused_with_their_layer(
    runner_of: Make, network_of: Callable[..., Network]
) -> None:
    network = network_of()
    weights = changed(random_weights(network, seed=1), 3, np.inf)
    with pytest.raises(
        UsageError, match=r"network\.cfg:\d+: layer 3 \[connected\]: weights hold 1 values that are not"
    ):
        runner_of(network, weights)
