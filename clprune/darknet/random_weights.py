"""Reproducible random weights, for tests and for timing a network whose weights one does not have."""

from __future__ import annotations

import math

import numpy as np

from clprune.darknet.layers import Layer, Local, Shortcut
from clprune.darknet.network import Network
from clprune.darknet.values import Field, FloatArray, LayerWeights, Weights, layer_fields, layer_weights
from clprune.errors import UsageError

#: Activations that keep about half of a centred input's power.
RECTIFIERS = frozenset({"relu", "leaky", "elu", "selu", "relie", "relu6", "swish", "mish", "hard_mish", "ramp"})


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
        layers.append(_random_layer(layer, generator, gain=gain) if layer_fields(layer, biases=True) else None)
    return Weights(layers=tuple(layers))


def _random_layer(layer: Layer, generator: np.random.Generator, *, gain: float) -> LayerWeights:
    arrays: dict[str, FloatArray] = {}
    for field in layer_fields(layer, biases=True):
        arrays[field.name] = _random_field(layer, field, generator, gain=gain)
    arrays.setdefault("weights", np.empty(0, dtype=np.float32))
    return layer_weights(arrays)


def _random_field(layer: Layer, field: Field, generator: np.random.Generator, *, gain: float) -> FloatArray:
    values = generator.standard_normal(field.shape, dtype=np.float32)
    if field.name == "weights":
        # The leading axes count outputs, for local layers places too; what is left is the fan-in.
        fan_in = math.prod(field.shape[2:] if isinstance(layer, Local) else field.shape[1:])
        variance = (2.0 if getattr(layer, "activation", "linear") in RECTIFIERS else 1.0) / fan_in
        values *= np.float32(gain * math.sqrt(variance))
    elif field.name == "scales":
        values = 1 + np.float32(0.1) * values
    elif field.name == "variance":
        values = generator.uniform(0.8, 1.25, field.shape).astype(np.float32)
    else:
        values *= np.float32(0.05)
    return values
