"""VGG16 at 224 x 224 with seeded random weights: the logits of the runner against PyTorch's on the same weights."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.pools import MaxPool
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.opencl import Session
from clprune.resources import models_folder
from clprune.runner import Runner
from tests.random_networks import remove_units
from tests.runner.conftest import images

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

LARGEST_RELATIVE_ERROR = 1e-4


def vgg16(batch: int) -> Network:
    """Up to the logits: without the softmax, which hides errors."""
    network = load_network(models_folder() / "vgg16.cfg", batch=batch)
    return dataclasses.replace(network, layers=tuple(layer for layer in network.layers if layer.kind != "softmax"))


@functools.cache
def weights_of(*, pruned: bool) -> Weights:
    """He-scaled; `pruned`: three quarters of the units of 8 x 1 removed, in the connected layers as well."""
    network = vgg16(1)
    weights = random_weights(network, seed=0)
    return remove_units(network, weights, seed=0, share=0.75, unit_rows=8) if pruned else weights


@functools.cache
def pytorch_logits(*, pruned: bool, count: int) -> np.ndarray:
    network, weights = vgg16(1), weights_of(pruned=pruned)
    x = torch.from_numpy(images(network, count))
    with torch.inference_mode():
        for layer in network.layers:
            values = weights.layers[layer.index]
            if values is not None:
                matrix, bias = torch.from_numpy(values.weights), torch.from_numpy(values.biases)
            if isinstance(layer, Convolutional):
                assert (layer.activation, layer.batch_normalize) == ("relu", False)
                x = torch.relu(torch.nn.functional.conv2d(x, matrix, bias, padding=layer.window.top))
            elif isinstance(layer, MaxPool):
                x = torch.nn.functional.max_pool2d(x, 2)
            elif isinstance(layer, Connected):
                x = torch.nn.functional.linear(x.flatten(1), matrix, bias)
                x = torch.relu(x) if layer.activation == "relu" else x
            else:
                assert layer.kind == "dropout"
    return np.asarray(x.numpy())


@pytest.mark.parametrize("batch", [1, 3])  # of more images the convolutions are those of three
@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
def test_logits(device_context: Session, batch: int, pruned: bool) -> None:
    network = vgg16(batch)
    with Runner(network, weights_of(pruned=pruned), session=device_context, lookup=lambda *_: None) as runner:
        got = runner(images(network, batch))
    wanted = pytorch_logits(pruned=pruned, count=3)[:batch]
    assert got.shape == (batch, 1000)
    assert float(np.abs(got - wanted).max() / np.abs(wanted).max()) < LARGEST_RELATIVE_ERROR
    assert np.array_equal(got.argmax(axis=1), wanted.argmax(axis=1))
