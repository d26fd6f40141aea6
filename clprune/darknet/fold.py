"""Batch normalization folded into the weights and biases of its layer, or of all layers of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.joins import Shortcut
from clprune.darknet.network import Network
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.errors import UsageError

#: Added to the variance inside the square root, as darknet's CUDA code and PyTorch have it.
BATCH_NORM_EPSILON = 1e-5

#: Added to the sum that the weights of a shortcut are divided by.
SHORTCUT_EPSILON = 1e-4


def fold_batch_norm(layer: Layer, weights: LayerWeights) -> LayerWeights:
    """Fold batch normalization into weights and biases, in float64: what is left is `weights` and `biases` only, as the
    layer multiplies by them.

    With factor = scales / sqrt(variance + 1e-5): weights * factor per output channel, biases - mean * factor; a coding
    does not survive that. A `[batchnorm]` layer becomes `weights * x + biases` per channel. Without batch normalization
    nothing changes.
    Raises UsageError when `layer` normalizes and `weights` has no statistics, or values that float32 does not hold.
    """
    if isinstance(layer, Convolutional) and layer.is_binary:
        weights = replace(weights, weights=signs(weights.weights), coding=None)
    if "variance" not in layer.arrays:
        return replace(weights, scales=None, mean=None, variance=None)
    if weights.scales is None or weights.mean is None or weights.variance is None:
        raise UsageError(f"{layer}: expected scales, mean and variance to fold, found weights without them")
    factor = weights.scales.astype(np.float64) / np.sqrt(weights.variance.astype(np.float64) + BATCH_NORM_EPSILON)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of them is refused
        biases = (weights.biases - weights.mean * factor).astype(np.float32)
        if "weights" not in layer.arrays:
            folded = factor.astype(np.float32)
        else:
            folded = np.empty(weights.weights.shape, dtype=np.float32)
            # Output channels come first, but for a Winograd-domain layer, whose matrices do.
            source, target = (np.moveaxis(a, 2, 0) if weights.winograd else a for a in (weights.weights, folded))
            for channel in range(len(target)):
                # One row at a time: a float64 copy of a whole connected layer would be its size twice over.
                target[channel] = source[channel] * factor[channel]
        # the sum of finite float32 values is finite in float64
        sums = [np.sum(values, dtype=np.float64) for values in (biases, folded)]
    if not np.isfinite(sums).all():
        raise UsageError(f"{layer}: folded, its batch normalization is no float32: expected other scales and variances")
    return LayerWeights(weights=folded, biases=biases, winograd=weights.winograd)


def signs(weights: FloatArray) -> FloatArray:
    """Each weight's sign times the mean magnitude of its filter."""
    filters = weights.reshape(len(weights), -1)
    means = np.abs(filters).mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
    values: FloatArray = np.where(filters > 0, means, -means)
    return values.reshape(weights.shape)


def for_bits(layer: Layer, weights: LayerWeights) -> LayerWeights:
    """The folded weights of a convolution as they multiply inputs that are 0 for -1 and 1 for 1: a border of 0 is one
    of -1 then. Raises UsageError where they leave float32.
    """
    values = weights.weights.astype(np.float64)
    with np.errstate(over="ignore"):
        doubled, biases = 2 * weights.weights, weights.biases - values.reshape(len(values), -1).sum(axis=1)
    if not np.isfinite(doubled).all():
        raise UsageError(f"{layer}: twice its weights are no float32: expected smaller ones for xnor")
    return replace(weights, weights=doubled, biases=biases.astype(np.float32))


def shortcut_scales(layer: Shortcut, weights: LayerWeights) -> FloatArray:
    """float32 `[summands, channels]`: what each channel of each summand is multiplied by (shortcut_multilayer_cpu)."""
    given = weights.weights.astype(np.float64).reshape(len(layer.sources), -1)
    if layer.weights_normalization == "relu":
        given = np.maximum(given, 0)
    elif layer.weights_normalization == "softmax":
        given = np.exp(given - given.max(axis=0))
    if layer.weights_normalization != "none":
        given = given / (SHORTCUT_EPSILON + given.sum(axis=0))
    return np.broadcast_to(given, (len(given), layer.output.channels)).astype(np.float32)


def fold_network(network: Network, weights: Weights) -> tuple[Network, Weights]:
    """The network that `clprune.darknet.rewrite.fold_cfg` describes and its weights: the same answers up to rounding.

    Layers of kind `[batchnorm]` stay. Raises UsageError where statistics are missing.
    """
    layers = list(network.layers)
    values = list(weights.layers)
    for index, layer in enumerate(network.layers):
        given = values[index]
        if isinstance(layer, MatrixLayer) and layer.batch_normalize:
            layers[index] = replace(layer, batch_normalize=False)
            if given is not None:
                values[index] = fold_batch_norm(layer, given)
    return replace(network, layers=tuple(layers)), replace(weights, layers=tuple(values))
