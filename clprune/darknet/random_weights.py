"""Reproducible random weights and images, for tests and for timing a network whose weights one does not have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from clprune.darknet.kinds.base import Layer, WeightedLayer
from clprune.darknet.kinds.functions import Implicit
from clprune.darknet.kinds.joins import Shortcut
from clprune.darknet.kinds.normalization import GroupNorm
from clprune.darknet.network import Network
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.errors import UsageError

#: Activations that keep about half of a centred input's power.
RECTIFIERS = frozenset(
    {"relu", "leaky", "elu", "selu", "relie", "relu6", "swish", "mish", "hard_mish", "hard_swish", "gelu_erf", "ramp"}
)


def random_weights(network: Network, *, seed: int) -> Weights:
    """Reproducible weights with which activations neither die nor explode.

    Weights are normal with variance 2 / fan-in (He et al. 2015, "Delving deep into rectifiers"), 1 / fan-in under
    activations that are no rectifiers; biases are small; batch normalization statistics are near mean 0, variance 1.
    A layer's values depend on the seed and its index only. Raises UsageError for a negative seed.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: expected at least 0")
    layers: list[LayerWeights | None] = []
    for layer in network.layers:
        generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, layer.index])))
        follower = network.layers[layer.index + 1] if layer.index + 1 < len(network.layers) else None
        # A branch that is added to its own input would double the variance at every block.
        gain = 0.2 if isinstance(follower, Shortcut) else 1.0
        shapes = layer.arrays if layer.owns_values else {}
        arrays: dict[str, Any] = {
            name: _random_array(layer, name, shape, generator, gain=gain) for name, shape in shapes.items()
        }
        layers.append(LayerWeights(**arrays) if arrays else None)
    return Weights(layers=tuple(layers))


def with_random_rest(network: Network, weights: Weights, *, seed: int) -> Weights:
    """`weights`, and `random_weights` of the layers that have none in a file of the first layers."""
    drawn = random_weights(network, seed=seed).layers
    layers = tuple(new if found is None else found for found, new in zip(weights.layers, drawn, strict=True))
    return replace(weights, layers=layers)


def _random_array(
    layer: Layer, name: str, shape: tuple[int, ...], generator: np.random.Generator, *, gain: float
) -> FloatArray:
    values = generator.standard_normal(shape, dtype=np.float32)
    if isinstance(layer, WeightedLayer) and name == "weights":
        variance = (2.0 if layer.activation in RECTIFIERS else 1.0) / layer.columns
        values *= np.float32(gain * math.sqrt(variance))
    elif (
        name == "scales"
        or isinstance(layer, Shortcut | Implicit)
        or (isinstance(layer, GroupNorm) and name == "weights")
    ):
        values = 1 + np.float32(0.1) * values
    elif name == "variance":
        values = generator.uniform(0.8, 1.25, shape).astype(np.float32)
    else:
        values *= np.float32(0.05)
    return values


def random_images(network: Network, *, seed: int) -> FloatArray:
    """One batch of seeded noise in 0..1, `[batch, channels, height, width]`."""
    shape = network.input
    generator = np.random.default_rng(seed)
    return generator.random((network.batch, shape.channels, shape.height, shape.width), dtype=np.float32)
