"""A small odd network with every kind of layer that has values, and weights for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import LayerWeights, Weights

CFG = """[net]
height=7
width=5
channels=3

[convolutional]
filters=13
size=3
pad=1
batch_normalize=1
activation=leaky
prune_method=workgroup
prune_unit=3x1
prune_sparsity=0.5

[convolutional]
filters=7
size=3
pad=1
activation=relu

[maxpool]
size=2
stride=2

[convolutional]
filters=14
size=1
groups=7
activation=relu

[batchnorm]

[local]
filters=2
size=3
pad=1
activation=relu

[connected]
output=5
activation=linear

[softmax]
"""

#: Index of the layer that tests change: 3x3, stride 1, one group, as Winograd's needs.
CONVOLUTION = 1

#: Layers whose weights can be pruned and coded.
WITH_WEIGHTS = (0, 1, 3, 5, 6)

Change = Callable[[LayerWeights], LayerWeights]


def odd_network(folder: Path, *, text: str = CFG, name: str = "odd") -> Network:
    path = folder / f"{name}.cfg"
    path.write_text(text)
    return load_network(path)


def pruned(values: LayerWeights, keep: npt.NDArray[np.bool_]) -> LayerWeights:
    return replace(values, weights=np.where(keep, values.weights, np.float32(0)))


def changed(weights: Weights, index: int, change: Change) -> Weights:
    layers = list(weights.layers)
    values = layers[index]
    assert values is not None
    layers[index] = change(values)
    return replace(weights, layers=tuple(layers))


def odd_weights(network: Network, change: Change = lambda values: values) -> Weights:
    """Random weights, with `change` made to every layer that can be pruned."""
    weights = replace(random_weights(network, seed=5), seen=640)
    for index in WITH_WEIGHTS:
        weights = changed(weights, index, change)
    return weights
