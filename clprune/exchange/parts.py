"""Layers that deliver a part of another's values, or all of them in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.exchange.feature import ZERO, Feature, Indices, Strided, border_of, planes_of, reorg_of, strided_of
from clprune.exchange.read import MAX_VALUES
from clprune.exchange.sketch import Sketch

#: Rows and columns of which one is taken, at most.
MAX_STRIDE = 16


def part_of(sketch: Sketch, feature: Feature) -> int:
    """The layer that delivers a part of another's planes, zeros around them, or its values in darknet's other order."""
    if (feature.places < 0).any():
        return _bordered(sketch, feature)
    layer, shape = feature.layer, sketch.shape(feature.layer)
    part, (height, width) = planes_of(feature.places, shape), feature.places.shape[2:]
    if part is None:
        reorg = reorg_of(feature.places, shape)
        if reorg is not None:
            layer = layer if reorg.before is None else _selected(sketch, layer, reorg.before)
            made = sketch.add(reorg.section, layer, **reorg.options)
            return made if reorg.after is None or reorg.before is not None else _selected(sketch, made, reorg.after)
        strided = strided_of(feature.places, shape)
        picked = None if strided is None else _strided(sketch, layer, strided)
        if picked is not None and sketch.shape(picked).dimensions == feature.places.shape[1:]:
            return picked
        raise UsageError(f"takes a tensor {sides_of(feature)} of values that were moved in a way that no layer does")
    if (height, width) != (shape.height, shape.width):
        if (part.top, part.left) == ((shape.height - height) // 2, (shape.width - width) // 2):
            layer = sketch.add("crop", layer, crop_height=height, crop_width=width, noadjust=1)
        else:
            after = part.top + height - shape.height, part.left + width - shape.width
            layer = add_pad(sketch, layer, (-part.top, -part.left, *after))
    first, count = int(part.channels[0]), len(part.channels)
    is_run = np.array_equal(part.channels, first + np.arange(count))
    if is_run and shape.channels % count == first % count == 0:
        if count == shape.channels:
            return layer
        return sketch.add("route", layer, groups=shape.channels // count, group_id=first // count)
    return _selected(sketch, layer, part.channels)


def add_pad(sketch: Sketch, layer: int, border: Sequence[int], mode: str = "zeros") -> int:
    """The layer with a border (top, left, bottom, right), or without one of its own where that is negative."""
    sides: dict[str, Any] = {
        name: side for name, side in zip(("top", "left", "bottom", "right"), border, strict=True) if side
    }
    return sketch.add("pad", layer, **sides, **dict[str, Any]({} if mode == "zeros" else {"mode": mode}))


def _bordered(sketch: Sketch, feature: Feature) -> int:
    """A layer with zeros around its planes, and channels of zeros."""
    places = feature.places
    if places.ndim != 4 or ((places < 0) & (places != ZERO)).any():
        raise UsageError(f"takes a tensor {sides_of(feature)} with a border of -inf: expected a maximum of windows")
    channels = np.flatnonzero((places[0] != ZERO).any((1, 2)))
    core, border = border_of(places[:, channels])
    if not len(channels) or (core < 0).any():
        raise UsageError(f"takes a tensor {sides_of(feature)} with zeros among its values: expected them around")
    layer = part_of(sketch, replace(feature, places=core))
    if any(border):
        layer = add_pad(sketch, layer, border)
    if len(channels) == places.shape[1]:
        return layer
    taken = np.full(places.shape[1], ZERO, np.int32)
    taken[channels] = np.arange(len(channels))
    return _selected(sketch, layer, taken)


def _strided(sketch: Sketch, layer: int, taken: Strided) -> int | None:
    """Every so manieth row and column of a layer: a convolution with a single 1 in each filter, which is exact."""
    count, of = len(taken.channels), sketch.shape(layer).channels
    size = int(taken.rows.max()) + 1, int(taken.columns.max()) + 1
    if max(size) > MAX_STRIDE or count * of * size[0] * size[1] > MAX_VALUES:
        return None
    weights = np.zeros((count, of, *size), np.float32)
    weights[np.arange(count), taken.channels, taken.rows, taken.columns] = 1
    values = LayerWeights(weights=weights, biases=np.zeros(count, np.float32))
    sides: dict[str, Any] = {
        "size_y": size[0],
        "size_x": size[1],
        "stride_y": taken.stride_y,
        "stride_x": taken.stride_x,
    }
    return sketch.add("convolutional", layer, filters=count, activation="linear", values=values, **sides)


def _selected(sketch: Sketch, layer: int, channels: Indices) -> int:
    """The given channels of a layer (`ZERO`: zeros), exactly: a convolution of 1x1 with a single 1 in each filter."""
    count, of = len(channels), sketch.shape(layer).channels
    if count * of > MAX_VALUES:
        raise UsageError(f"takes {count} of {of} channels: expected at most {MAX_VALUES} weights")
    weights = np.zeros((count, of, 1, 1), np.float32)
    weights[np.flatnonzero(channels >= 0), channels[channels >= 0]] = 1
    values = LayerWeights(weights=weights, biases=np.zeros(count, np.float32))
    return sketch.add("convolutional", layer, filters=count, size=1, activation="linear", values=values)


def sides_of(feature: Feature) -> str:
    """The shape of a tensor, for errors."""
    return f"[N, {', '.join(map(str, feature.places.shape[1:]))}]"
