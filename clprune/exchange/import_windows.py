"""What ONNX's convolutions and poolings become: layers whose windows take in the border of a `Pad` before them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.exchange.feature import LOWEST, ZERO, Feature, border_of
from clprune.exchange.import_sums import channel_sum
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.parts import add_pad
from clprune.exchange.read import attributes_of
from clprune.geometry import Shape

WINDOWS = Operators()

_SIDES = ("top", "left", "bottom", "right")


@WINDOWS.of("Conv")
def _convolution(importer: Importer, node: NodeProto) -> Feature:
    weights = importer.floats(node, 1)
    if weights.ndim != 4:
        raise UsageError(f"has weights of shape {weights.shape}: expected four axes, a convolution of planes")
    filters, columns, *size = weights.shape
    layer, border = _bordered(importer, node)
    groups = attributes_of(node).get("group", 1)
    shape = importer.sketch.shape(layer)
    if columns * groups != shape.channels:
        raise UsageError(f"has weights of shape {weights.shape} and group={groups} for {shape.channels} channels")
    biases = importer.floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(filters, np.float32)
    options = _window(node, shape, size, border)
    options = {"filters": filters, **({"groups": groups} if groups > 1 else {}), **options, "activation": "linear"}
    return importer.delivered(
        importer.sketch.add("convolutional", layer, values=LayerWeights(weights=weights, biases=biases), **options)
    )


@WINDOWS.of("MaxPool")
def _max_pool(importer: Importer, node: NodeProto) -> Feature:
    layer, border = _bordered(importer, node, kind=LOWEST)
    shape = importer.sketch.shape(layer)
    options = _window(node, shape, attributes_of(node).get("kernel_shape", []), border, is_pool=True)
    return importer.delivered(importer.sketch.add("maxpool", layer, **options))


@WINDOWS.of("AveragePool")
def _average_pool(importer: Importer, node: NodeProto) -> Feature:
    feature, attributes = importer.feature(node), attributes_of(node)
    size = attributes.get("kernel_shape", [])
    layer, border = _bordered(importer, node)
    pads = _own_pads(attributes, importer.sketch.shape(layer), size, border)
    counts = attributes.get("count_include_pad", 0) and any(pads)
    if any(border) and ((not counts and any(pads)) or attributes.get("ceil_mode")):
        layer, border = importer.planes(importer.applied(feature)), (0, 0, 0, 0)
    if counts and attributes.get("ceil_mode"):
        # its own border counts, what is added for the last window does not: the first becomes a layer
        layer = add_pad(importer.sketch, layer, pads)
        node = helper.make_node("AveragePool", [], [], **{**attributes, "auto_pad": "NOTSET", "pads": [0, 0, 0, 0]})
        counts = 0
    shape = importer.sketch.shape(layer)
    options = _window(node, shape, size, border, is_pool=True)
    has_border = any(value for key, value in options.items() if key.startswith("padding"))
    if not has_border and size == [shape.height, shape.width]:
        return importer.delivered(importer.sketch.add("avgpool", layer))
    if not has_border and options.get("size") == options.get("stride") == 1:
        return feature
    if has_border and (counts or any(border)):
        options["count_border"] = 1
    return importer.delivered(importer.sketch.add("local_avgpool", layer, **options))


@WINDOWS.of("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum")
def _of_planes(importer: Importer, node: NodeProto) -> Feature:
    """The mean or maximum of each channel, wherever its places went, or of all channels at each place."""
    given, attributes = importer.feature(node), attributes_of(node)
    places, rank = given.places, given.places.ndim
    is_global, is_mean = node.op_type.startswith("Global"), not node.op_type.endswith(("Max", "MaxPool"))
    axes = list(range(2, rank)) if is_global else importer.option(node, "axes", 1, list(range(rank)))
    axes = sorted(axis % rank for axis in axes)
    shape = importer.sketch.shape(given.layer)
    kept = [axis for axis in range(rank) if axis not in axes]
    plane = shape.height * shape.width
    rows = np.sort(places.transpose(*kept, *axes).reshape(-1, math.prod(places.shape[axis] for axis in axes)), axis=1)
    if 0 in axes or not np.array_equal(rows, rows[:, :1] // plane * plane + np.arange(plane)):
        is_side = rank == 4 and axes in ([2], [3]) and not importer.is_channels_last(given)
        if is_side and node.op_type != "ReduceSum":
            return _over_one_side(importer, node, axes[0], is_mean=is_mean)
        return _over_channels(importer, node, axes, is_mean=is_mean)
    feature = importer.applied(given)
    keeps = is_global or attributes.get("keepdims", 1)
    sides = [1 if axis in axes else places.shape[axis] for axis in range(rank) if keeps or axis not in axes]
    size = {"size_y": shape.height, "size_x": shape.width, "stride": 1, "padding": 0}
    options: dict[str, Any] = {} if is_mean else size
    layer = importer.sketch.add("avgpool" if is_mean else "maxpool", feature.layer, **options)
    if node.op_type == "ReduceSum":
        layer = importer.affine(layer, plane, 0.0)
    return importer.delivered(layer, (rows[:, 0] // plane).reshape(sides))


def _over_one_side(importer: Importer, node: NodeProto, axis: int, *, is_mean: bool) -> Feature:
    """The mean or maximum of each row, or of each column: windows as long."""
    layer = importer.planes(importer.feature(node))
    shape = importer.sketch.shape(layer)
    size: dict[str, Any] = {"size_y": shape.height, "size_x": 1} if axis == 2 else {"size_y": 1, "size_x": shape.width}
    kind = "local_avgpool" if is_mean else "maxpool"
    made = importer.delivered(importer.sketch.add(kind, layer, **size, stride=1, padding=0))
    return made if attributes_of(node).get("keepdims", 1) else replace(made, places=made.places.squeeze(axis))


def _over_channels(importer: Importer, node: NodeProto, axes: list[int], *, is_mean: bool) -> Feature:
    """The mean or maximum of all channels at each place."""
    feature = importer.feature(node)
    if is_mean and len(axes) == 1:
        return channel_sum(importer, node, is_mean=node.op_type == "ReduceMean")
    if is_mean or axes != [1] or feature.places.ndim != 4 or not attributes_of(node).get("keepdims", 1):
        raise UsageError(f"takes axes {axes} of {list(feature.places.shape)}: expected height and width, or channels")
    return importer.delivered(importer.sketch.add("maxpool", importer.planes(feature), maxpool_depth=1, out_channels=1))


def _bordered(importer: Importer, node: NodeProto, *, kind: int = ZERO) -> tuple[int, tuple[int, int, int, int]]:
    """The layer that a node's windows slide over, and the border of a kind around it (top, left, bottom, right)."""
    feature = importer.applied(importer.feature(node))
    is_border = feature.places < 0
    if feature.places.ndim != 4 or not is_border.any():
        return importer.planes(feature), (0, 0, 0, 0)
    if (feature.places[is_border] != kind).any():  # a maximum over zeros
        return importer.planes(feature), (0, 0, 0, 0)
    core, border = border_of(feature.places)
    return importer.planes(replace(feature, places=core)), border


def _window(
    node: NodeProto, shape: Shape, size: Sequence[int], border: Sequence[int], *, is_pool: bool = False
) -> dict[str, Any]:
    """The keys of a layer's windows, `border` (top, left, bottom, right) added; darknet's own where they do."""
    attributes = attributes_of(node)
    pads = _own_pads(attributes, shape, size, border)
    strides, dilations = _steps(attributes)
    if attributes.get("ceil_mode"):
        sides, extents = _bordered_sides(shape, border), _extents(size, dilations)
        for axis in (0, 1):
            pads[2 + axis] += _rest(sides[axis], pads[axis], pads[2 + axis], extents[axis], strides[axis])
    pads = [own + more for own, more in zip(pads, border, strict=True)]
    keys: dict[str, Any] = {}
    for name, values in (("size", size), ("stride", strides), ("dilation", dilations)):
        if values[0] == values[1]:
            keys |= {name: values[0]} if values[0] > 1 or name != "dilation" else {}
        else:
            keys |= {f"{name}_y": values[0], f"{name}_x": values[1]}
    return {**keys, **_padding_keys(pads, is_pool=is_pool, is_dilated=max(dilations) > 1)}


def _padding_keys(pads: Sequence[int], *, is_pool: bool, is_dilated: bool) -> dict[str, int]:
    """Darknet's `padding` (of pools the total, half of it before the image) where it says the same."""
    top, left, bottom, right = pads
    if is_pool and top == left == (top + bottom) // 2 and bottom == right:
        return {"padding": top + bottom}
    if not is_pool and len(set(pads)) == 1 and not (is_dilated and top):
        return {"padding": top} if top else {}
    return {f"padding_{side}": count for side, count in zip(_SIDES, pads, strict=True)}


def _own_pads(attributes: dict[str, Any], shape: Shape, size: Sequence[int], border: Sequence[int]) -> list[int]:
    """The border that a node adds itself to what has `border` already. Raises UsageError for windows of no planes."""
    strides, dilations = _steps(attributes)
    if len(size) != 2 or len(strides) != 2 or len(dilations) != 2 or min(*size, *strides, *dilations) < 1:
        raise UsageError(f"has windows of {list(size)}: expected two sides, a layer of planes")
    return _pads(attributes, _bordered_sides(shape, border), _extents(size, dilations), strides)


def _steps(attributes: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Strides and dilations."""
    return attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])


def _bordered_sides(shape: Shape, border: Sequence[int]) -> tuple[int, int]:
    return shape.height + border[0] + border[2], shape.width + border[1] + border[3]


def _extents(size: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(side - 1) * dilation + 1 for side, dilation in zip(size, dilations, strict=True)]


def _pads(
    attributes: dict[str, Any], sides: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """Border at the top, left, bottom and right."""
    way = attributes.get("auto_pad", "NOTSET")
    if way in ("NOTSET", ""):
        pads = list(attributes.get("pads", [0, 0, 0, 0]))
        if len(pads) != 4 or min(pads) < 0:
            raise UsageError(f"has pads={pads}: expected four, none negative")
        return pads
    if way == "VALID":
        return [0, 0, 0, 0]
    if way not in ("SAME_UPPER", "SAME_LOWER"):
        raise UsageError(f"has auto_pad={way}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    totals = [
        max((math.ceil(side / stride) - 1) * stride + extent - side, 0)
        for side, extent, stride in zip(sides, extents, strides, strict=True)
    ]
    smaller = [total // 2 for total in totals]
    larger = [total - total // 2 for total in totals]
    return [*smaller, *larger] if way == "SAME_UPPER" else [*larger, *smaller]


def _rest(side: int, before: int, after: int, extent: int, stride: int) -> int:
    """More border at the end for a count of windows that is rounded up; none begins in that border."""
    count = math.ceil((side + before + after - extent) / stride) + 1
    if (count - 1) * stride >= side + before:
        count -= 1
    return max((count - 1) * stride + extent - side - before - after, 0)
