"""What becomes of sums over channels, and of tensors divided by the root of one: layers that normalize.

A sum is a convolution of 1x1 with one filter. Exporters write layer normalization as such sums where their version of
the operators has no name for it, so it is told by what is subtracted and divided.

Source: https://onnx.ai/onnx/operators, versions 7 to 23.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.exchange.feature import PROBES, ZERO, Feature, Samples, is_square
from clprune.exchange.importer import ChannelSum, Importer, Operators
from clprune.exchange.read import MAX_VALUES, attributes_of

SUMS = Operators()

#: Below, what is added to a sum of squares is there against a division by zero only.
_LEAST_EPSILON = 1e-12


@SUMS.of("ReduceL2", "ReduceSumSquare")
def _sum(importer: Importer, node: NodeProto) -> Feature:
    return channel_sum(importer, node, is_mean=False)


def channel_sum(importer: Importer, node: NodeProto, *, is_mean: bool) -> Feature:
    """The sum or mean of all channels at each place. Raises UsageError for other axes."""
    feature, rank = importer.feature(node), importer.feature(node).places.ndim
    axes = [axis % rank for axis in importer.option(node, "axes", 1, list(range(rank)))]
    shape = importer.sketch.shape(feature.layer)
    places = np.moveaxis(feature.places, axes[0] if len(axes) == 1 else -1, -1)
    last = np.moveaxis(np.arange(shape.elements).reshape(1, *shape.dimensions), 1, -1)
    if len(axes) != 1 or places.size != last.size or not np.array_equal(places.reshape(-1), last.reshape(-1)):
        raise UsageError(f"takes axes {axes} of {list(feature.places.shape)}: expected height and width, or channels")
    is_root, squares = node.op_type == "ReduceL2", node.op_type in ("ReduceL2", "ReduceSumSquare")
    base = importer.applied(feature) if squares else feature
    if squares:
        base = replace(base, layer=importer.sketch.add("sam", base.layer, base.layer, activation="linear"))
    summed = importer.applied(base)
    share = 1 / shape.channels if is_mean else 1.0
    weights = np.full((1, shape.channels, 1, 1), share, np.float32)
    values = LayerWeights(weights=weights, biases=np.zeros(1, np.float32))
    layer = importer.sketch.add("convolutional", summed.layer, filters=1, size=1, activation="linear", values=values)
    of = importer.applied(feature) if squares else feature
    if not squares and feature.samples is not None:
        squares = is_square(feature.samples)
        of = replace(feature, samples=None, otherwise=None) if squares else importer.applied(feature)
    importer.sums[layer] = ChannelSum(of=of, share=share, is_square=squares)
    keeps = attributes_of(node).get("keepdims", 1)
    sides = [
        1 if axis == axes[0] else side for axis, side in enumerate(feature.places.shape) if keeps or axis != axes[0]
    ]
    made = importer.delivered(layer, np.arange(shape.height * shape.width, dtype=np.int32).reshape(sides))
    with np.errstate(invalid="ignore"):
        return replace(made, samples=np.sqrt(PROBES)) if is_root else made


def normalized(importer: Importer, name: str, x: Feature, other: Feature) -> Feature | None:
    """`x - other`, `x / other` or `x * other` where `other` is the mean of x's channels, the root of their squares' sum
    or mean, or its inverse; None where it is none of them.
    """
    known = importer.sums.get(other.layer)
    if known is None:
        return None
    x = importer.applied(x)
    if x.layer != known.of.layer:
        return None
    shape = importer.sketch.shape(x.layer)
    if not np.array_equal(x.places, known.of.places) or other.places.ndim != x.places.ndim:
        return None
    if (x.places == ZERO).any() or (other.places != x.places % (shape.height * shape.width)).any():
        return None
    if not known.is_square:
        is_mean = name == "Sub" and other.samples is None and known.share == 1 / shape.channels
        return replace(x, layer=centred(importer, x.layer)) if is_mean else None
    with np.errstate(divide="ignore", over="ignore"):
        divisors = other.at_probes if name == "Div" else 1 / other.at_probes
    epsilon = _epsilon_of(divisors) if name != "Sub" else None
    if epsilon is None:
        return None
    if known.share == 1 and epsilon < _LEAST_EPSILON:
        return replace(x, layer=importer.sketch.add("l2norm", x.layer))
    return replace(x, layer=divided(importer, x.layer, share=known.share, epsilon=epsilon))


def centred(importer: Importer, layer: int) -> int:
    """The layer's output without the mean of its channels."""
    channels = importer.sketch.shape(layer).channels
    if channels**2 > MAX_VALUES:
        raise UsageError(f"takes the mean of {channels} channels from each: expected at most {MAX_VALUES} weights")
    centre = (np.eye(channels) - 1 / channels).astype(np.float32)
    values = LayerWeights(weights=centre.reshape(channels, channels, 1, 1), biases=np.zeros(channels, np.float32))
    return importer.sketch.add("convolutional", layer, filters=channels, size=1, activation="linear", values=values)


def divided(importer: Importer, layer: int, *, share: float, epsilon: float) -> int:
    """The layer's output over sqrt(share * sum of its channels' squares + epsilon): darknet's normalization, whose
    window holds all channels.
    """
    size = 2 * importer.sketch.shape(layer).channels + 2
    return importer.sketch.add("normalization", layer, alpha=share, beta=0.5, kappa=epsilon, size=size)


def _epsilon_of(samples: Samples) -> float | None:
    """epsilon where these are sqrt(x + epsilon) at those of `PROBES` that a sum of squares can be."""
    epsilon = float(samples[PROBES == 0][0]) ** 2
    where = PROBES >= 0
    is_root = 0 <= epsilon < 1 and _are_alike(samples[where], np.sqrt(PROBES[where] + epsilon))
    return epsilon if is_root else None


def _are_alike(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(found - expected) <= 1e-6 * (1 + np.abs(expected))).all())
