"""Convolutions that compute with the signs of weights, or with another layer's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.runner import Runner
from clprune.runner.reference import reference_answers
from clprune.runner.verify import verify_network
from tests.runner.conftest import images

NET = "[net]\nheight=9\nwidth=11\nchannels=4\n"
CONVOLUTION = "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=linear\n"


@pytest.mark.parametrize(("key", "dialect"), [("xnor", "pjreddie"), ("xnor", "alexeyab"), ("binary", "alexeyab")])
def test_signs(runner_of: Callable[..., Runner], network_of: Callable[..., Network], key: str, dialect: str) -> None:
    """The same as a convolution whose weights, input and border were replaced by hand."""
    network = network_of(f"{NET}dialect={dialect}\n{CONVOLUTION}{key}=1\n", batch=2)
    has_bits = (key, dialect) == ("xnor", "alexeyab")
    bordered = NET.replace("9", "11").replace("=11\nchannels", "=13\nchannels") + CONVOLUTION.replace("pad=1", "pad=0")
    plain = network_of(bordered if has_bits else NET + CONVOLUTION, batch=2)
    weights, x = random_weights(network, seed=1), images(network, 2)
    x[:, :, 0] = 0
    layer = weights.layers[0]
    assert layer is not None
    signs = np.where(layer.weights > 0, 1, -1) * np.abs(layer.weights).mean(axis=(1, 2, 3), keepdims=True)
    by_hand = replace(weights, layers=(replace(layer, weights=signs.astype(np.float32)),))
    inputs = np.where(x > 0, 1, -1).astype(np.float32) if key == "xnor" else x
    if has_bits:
        inputs = np.pad(inputs, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    (expected,) = reference_answers(plain, by_hand, inputs)
    (found,) = reference_answers(network, weights, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with runner_of(network, weights, keep_tensors=True) as runner:
        assert all(error.is_within for error in verify_network(runner, weights, x))


def test_shared_weights(runner_of: Callable[..., Runner], network_of: Callable[..., Network]) -> None:
    """The same as two layers with equal weights."""
    shared = network_of(NET + CONVOLUTION + CONVOLUTION + "dilation=2\nshare_index=0\n")
    plain = network_of(NET + CONVOLUTION + CONVOLUTION + "dilation=2\n")
    weights, x = random_weights(shared, seed=1), images(shared, 1)
    twice = replace(weights, layers=(weights.layers[0],) * 2)
    (expected,) = reference_answers(plain, twice, x)
    with runner_of(shared, weights) as runner:
        np.testing.assert_allclose(runner(x), expected.reshape(1, -1), rtol=1e-4, atol=1e-5)
