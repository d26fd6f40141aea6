"""What layers without matrices answer in float64, straight from darknet's sources: one function for each kind."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.functions import Activation, Implicit, L2Norm
from clprune.darknet.kinds.heads import Yolo
from clprune.darknet.kinds.joins import Product, Route, Shortcut
from clprune.darknet.kinds.normalization import GroupNorm
from clprune.darknet.kinds.planes import Crop, Pad, Reorg, Resize, Upsample
from clprune.darknet.values import LayerWeights

FloatArray = npt.NDArray[np.float64]
Sources = Sequence[FloatArray]


@functools.singledispatch
def answer(layer: Layer, sources: Sources, values: LayerWeights | None) -> FloatArray:
    """The output for `sources` `[N, C, H, W]`, in any shape with as many values; by default that of an identity."""
    assert layer.is_identity
    return sources[0]


@answer.register
def _(layer: Route, sources: Sources, values: LayerWeights | None) -> FloatArray:
    return np.concatenate([np.split(x, layer.groups, axis=1)[layer.group_id] for x in sources], axis=1)


@answer.register
def _(layer: Shortcut, sources: Sources, values: LayerWeights | None) -> FloatArray:
    """As shortcut_cpu and shortcut_multilayer_cpu have it, for planes of one size."""
    count, channels = len(sources), sources[0].shape[1]
    scales = np.array([layer.alpha] + [layer.beta] * (count - 1))[:, None] * np.ones(channels)
    if layer.weights_type != "none":
        assert values is not None
        scales = values.weights.reshape(count, -1) * np.ones(channels)
        scales = np.maximum(scales, 0) if layer.weights_normalization == "relu" else np.exp(scales - scales.max(axis=0))
        scales = scales / (1e-4 + scales.sum(axis=0))
    x = sources[0].copy()
    scaled = channels if layer.weights_type != "none" else min(part.shape[1] for part in sources)
    x[:, :scaled] *= scales[0, :scaled, None, None]
    for part, scale in zip(sources[1:], scales[1:], strict=True):
        common = min(channels, part.shape[1])
        x[:, :common] += scale[:common, None, None] * part[:, :common]
    return activate(layer.activation, x)


@answer.register
def _(layer: Product, sources: Sources, values: LayerWeights | None) -> FloatArray:
    return activate(layer.activation, sources[1] * sources[0])


@answer.register
def _(layer: Implicit, sources: Sources, values: LayerWeights | None) -> FloatArray:
    assert values is not None
    return np.repeat(values.weights[None], len(sources[0]), axis=0)


@answer.register
def _(layer: Reorg, sources: Sources, values: LayerWeights | None) -> FloatArray:
    """The loops of reorg_cpu."""
    if layer.extra:
        return np.pad(sources[0].reshape(len(sources[0]), -1), ((0, 0), (0, layer.extra)))
    channels, height, width = (layer.output if layer.kind == "reorg3d" else layer.input).dimensions
    stride, inner = layer.stride, channels // layer.stride**2
    source = sources[0].reshape(len(sources[0]), -1)
    result = np.empty_like(source)
    for here, (k, j, i) in enumerate(np.ndindex(channels, height, width)):
        offset = k // inner
        column, row = i * stride + offset % stride, j * stride + offset // stride
        there = column + width * stride * (row + height * stride * (k % inner))
        target, origin = (there, here) if layer.reverse else (here, there)
        result[:, target] = source[:, origin]
    return result


@answer.register
def _(layer: L2Norm, sources: Sources, values: LayerWeights | None) -> FloatArray:
    return sources[0] / np.sqrt(np.square(sources[0]).sum(axis=1, keepdims=True))


@answer.register
def _(layer: Upsample, sources: Sources, values: LayerWeights | None) -> FloatArray:
    return layer.scale * sources[0].repeat(layer.stride, axis=2).repeat(layer.stride, axis=3)


@answer.register
def _(layer: Resize, sources: Sources, values: LayerWeights | None) -> FloatArray:
    """Bilinear between the centres of pixels, value by value; other ways are compared with ONNX Runtime."""
    assert (layer.mode, layer.coordinates) == ("linear", "half_pixel")
    x, result = sources[0], np.empty((len(sources[0]), *layer.output.dimensions))
    height, width = x.shape[2:]
    for i, j in np.ndindex(layer.height, layer.width):
        row = min(max((i + 0.5) * height / layer.height - 0.5, 0), height - 1)
        column = min(max((j + 0.5) * width / layer.width - 0.5, 0), width - 1)
        top, left = int(row), int(column)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = (1 - column + left) * x[:, :, top, left] + (column - left) * x[:, :, top, right]
        lower = (1 - column + left) * x[:, :, bottom, left] + (column - left) * x[:, :, bottom, right]
        result[:, :, i, j] = (1 - row + top) * upper + (row - top) * lower
    return result


@answer.register
def _(layer: GroupNorm, sources: Sources, values: LayerWeights | None) -> FloatArray:
    """Group by group, image by image."""
    assert values is not None
    result = np.empty_like(sources[0])
    size = layer.input.channels // layer.groups
    for image, first in itertools.product(range(len(result)), range(0, layer.input.channels, size)):
        part = sources[0][image, first : first + size]
        deviation = np.sqrt(np.mean((part - part.mean()) ** 2) + layer.epsilon)
        for channel in range(size):
            normalized = (part[channel] - part.mean()) / deviation
            result[image, first + channel] = (
                values.weights[first + channel] * normalized + values.biases[first + channel]
            )
    return result


@answer.register
def _(layer: Pad, sources: Sources, values: LayerWeights | None) -> FloatArray:
    """Value by value."""
    x, result = sources[0], np.zeros((len(sources[0]), *layer.output.dimensions))
    sides = x.shape[2:]
    for i, j in np.ndindex(*result.shape[2:]):
        place = [i - layer.top, j - layer.left]
        if layer.mode == "reflect":
            place = [side - 1 - abs(side - 1 - abs(at)) for at, side in zip(place, sides, strict=True)]
        if layer.mode == "edge":
            place = [min(max(at, 0), side - 1) for at, side in zip(place, sides, strict=True)]
        if all(0 <= at < side for at, side in zip(place, sides, strict=True)):
            result[:, :, i, j] = x[:, :, place[0], place[1]]
    return result


@answer.register
def _(layer: Crop, sources: Sources, values: LayerWeights | None) -> FloatArray:
    top, left = (layer.input.height - layer.crop_height) // 2, (layer.input.width - layer.crop_width) // 2
    x = sources[0][:, :, top : top + layer.crop_height, left : left + layer.crop_width]
    return x if layer.noadjust else 2 * x - 1


@answer.register
def _(layer: Activation, sources: Sources, values: LayerWeights | None) -> FloatArray:
    return activate(layer.activation, sources[0])


@answer.register
def _(layer: Yolo, sources: Sources, values: LayerWeights | None) -> FloatArray:
    boxes = sources[0].reshape(len(sources[0]), layer.boxes, layer.entries, *sources[0].shape[2:])
    result = activate("logistic", boxes)
    result[:, :, :2] = layer.scale_x_y * result[:, :, :2] - (layer.scale_x_y - 1) / 2
    result[:, :, 2:4] = boxes[:, :, 2:4]
    return result
