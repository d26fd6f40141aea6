"""Batch normalization folded into the weights and biases of its layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clprune.darknet.layers import BatchNorm, Connected, Convolutional, Layer
from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError

#: Added to the variance inside the square root, as darknet's CUDA code and PyTorch have it.
BATCH_NORM_EPSILON = 1e-5


def fold_batch_norm(layer: Layer, weights: LayerWeights) -> LayerWeights:
    """Fold batch normalization into weights and biases, in float64: what is left is `weights` and `biases` only.

    With factor = scales / sqrt(variance + 1e-5): weights * factor per output channel, biases - mean * factor; a coding
    does not survive that. A `[batchnorm]` layer becomes `weights * x + biases` per channel. Without batch normalization
    nothing changes.
    Raises UsageError when `layer` normalizes and `weights` has no statistics.
    """
    normalizes = isinstance(layer, BatchNorm) or (
        isinstance(layer, Convolutional | Connected) and layer.batch_normalize
    )
    if not normalizes:
        return replace(weights, scales=None, mean=None, variance=None)
    if weights.scales is None or weights.mean is None or weights.variance is None:
        raise UsageError(f"{layer}: expected scales, mean and variance to fold, found weights without them")
    factor = weights.scales.astype(np.float64) / np.sqrt(weights.variance.astype(np.float64) + BATCH_NORM_EPSILON)
    biases = (weights.biases - weights.mean * factor).astype(np.float32)
    if isinstance(layer, BatchNorm):
        return LayerWeights(weights=factor.astype(np.float32), biases=biases)
    folded = np.empty(weights.weights.shape, dtype=np.float32)
    # Output channels come first, but for a Winograd-domain layer, whose matrices do.
    source, target = (np.moveaxis(a, 2, 0) if weights.winograd else a for a in (weights.weights, folded))
    for channel in range(len(target)):
        # One row at a time: a float64 copy of a whole connected layer would be its size twice over.
        target[channel] = source[channel] * factor[channel]
    return LayerWeights(weights=folded, biases=biases, winograd=weights.winograd)
