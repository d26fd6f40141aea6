"""Which ONNX operators compute a layer: one function for each kind, found by the layer's class."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional, Local
from clprune.darknet.kinds.functions import Activation, Cost, Dropout, Empty, Implicit, L2Norm, Output, Softmax
from clprune.darknet.kinds.heads import ChannelRun, Head, runs_of
from clprune.darknet.kinds.joins import Product, Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm, GroupNorm, Normalization
from clprune.darknet.kinds.planes import Crop, Pad, Reorg, Resize, Upsample
from clprune.darknet.kinds.pools import AvgPool, WindowPool
from clprune.darknet.reorder import BORDERS
from clprune.errors import UnsupportedLayerError
from clprune.exchange.activations import activate
from clprune.exchange.graph import Graph, Site
from clprune.exchange.joins import write_product, write_route, write_shortcut
from clprune.exchange.matrix import normalize, write_connected, write_convolution
from clprune.exchange.windows import write_local, write_pool


@functools.singledispatch
def write_layer(layer: Layer, site: Site) -> str:
    """Add the operators of `layer` and return its output. Raises UnsupportedLayerError where it has none."""
    return layer.write_onnx(site)


write_layer.register(Convolutional, write_convolution)
write_layer.register(Connected, write_connected)
write_layer.register(Local, write_local)
write_layer.register(WindowPool, write_pool)
write_layer.register(Route, write_route)
write_layer.register(Shortcut, write_shortcut)
write_layer.register(Product, write_product)


@write_layer.register(Cost)
@write_layer.register(Dropout)
@write_layer.register(Empty)
@write_layer.register(Output)
def _(layer: Layer, site: Site) -> str:
    return site.x


@write_layer.register
def _(layer: Activation, site: Site) -> str:
    return activate(site.graph, layer.activation, site.x)


@write_layer.register
def _(layer: BatchNorm, site: Site) -> str:
    assert site.values is not None
    return normalize(site.graph, site.planes[0], site.values)


@write_layer.register
def _(layer: Normalization, site: Site) -> str:
    """Sums over neighbouring channels as a convolution; darknet's begin without channel size // 2 and carry that on."""
    graph, (x,), channels = site.graph, site.planes, layer.input.channels
    if layer.full and layer.size % 2 and layer.kappa >= 1e-3:  # what the operator takes everywhere
        facts: dict[str, Any] = {"alpha": layer.alpha * layer.size, "beta": layer.beta, "bias": layer.kappa}
        return graph.add("LRN", x, size=layer.size, **facts)
    before, after = (layer.size - 1) // 2, layer.size // 2
    sums = np.tri(channels, k=after, dtype=np.float32) - np.tri(channels, k=-before - 1, dtype=np.float32)
    if not layer.full:
        sums[:, after : after + 1] -= 1
    weights = graph.constant((layer.alpha * sums).astype(np.float32).reshape(channels, channels, 1, 1))
    kappa = graph.constant(np.full(channels, layer.kappa, np.float32))
    squares = graph.add("Conv", graph.add("Mul", x, x), weights, kappa)
    return graph.add("Mul", x, graph.add("Pow", squares, graph.number(-layer.beta)))


@write_layer.register
def _(layer: GroupNorm, site: Site) -> str:
    """Each group as one channel of an instance normalization."""
    graph, (x,), values, shape = site.graph, site.planes, site.values, layer.input
    assert values is not None
    is_own = layer.groups == shape.channels
    arrays = (values.weights, values.biases) if is_own else (np.ones(layer.groups), np.zeros(layer.groups))
    given = [graph.constant(array.astype(np.float32)) for array in arrays]
    x = x if is_own else graph.reshape(x, layer.groups, shape.elements // layer.groups)
    y = graph.add("InstanceNormalization", x, *given, epsilon=layer.epsilon)
    if is_own:
        return y
    y = graph.reshape(y, *shape.dimensions)
    factors, offsets = (graph.constant(array.reshape(-1, 1, 1)) for array in (values.weights, values.biases))
    return graph.add("Add", graph.add("Mul", y, factors), offsets)


@write_layer.register
def _(layer: Softmax, site: Site) -> str:
    graph, x = site.graph, site.planes[0] if layer.spatial else site.graph.vector(site.x)
    if layer.temperature != 1:
        x = graph.add("Div", x, graph.number(layer.temperature))
    if layer.tree is not None:
        return _write_runs(graph, x, runs_of([(size, "softmax", 1.0) for size in layer.tree.group_sizes]))
    if layer.groups == 1:  # of planes or of a vector
        return graph.add("Softmax", x, axis=1)
    groups = graph.reshape(x, layer.groups, layer.input.elements // layer.groups)
    return graph.add("Flatten", graph.add("Softmax", groups, axis=2), axis=1)


@write_layer.register
def _(layer: Head, site: Site) -> str:
    return site.x if layer.is_identity else _write_runs(site.graph, site.planes[0], layer.runs)


def _write_runs(graph: Graph, x: str, runs: Sequence[ChannelRun]) -> str:
    """Another function for each run of channels."""
    parts = []
    for run, part in zip(runs, graph.split(x, [run.count for run in runs], axis=1), strict=True):
        y = graph.add("Softmax", part, axis=1) if run.function == "softmax" else activate(graph, run.function, part)
        if run.scale != 1:
            y = graph.add("Sub", graph.add("Mul", y, graph.number(run.scale)), graph.number((run.scale - 1) / 2))
        parts.append(y)
    return graph.add("Concat", *parts, axis=1)


@write_layer.register
def _(layer: AvgPool, site: Site) -> str:
    return site.graph.add("GlobalAveragePool", *site.planes)


@write_layer.register
def _(layer: Upsample, site: Site) -> str:
    graph, sides = site.graph, (1, 1, layer.stride, layer.stride)
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = graph.add("Resize", site.planes[0], "", graph.constant(np.array(sides, np.float32)), **modes)
    return y if layer.scale == 1 else graph.add("Mul", y, graph.number(layer.scale))


@write_layer.register
def _(layer: Resize, site: Site) -> str:
    """By sizes, those of the batch and the channels taken from the input; by scales where these are not the sides'."""
    graph, (x,), (channels, height, width) = site.graph, site.planes, layer.output.dimensions
    modes: dict[str, Any] = {"mode": layer.mode, "coordinate_transformation_mode": layer.coordinates}
    if layer.mode == "nearest":
        modes["nearest_mode"] = layer.rounding
    if layer.mode == "cubic":
        modes["cubic_coeff_a"] = layer.cubic
    scales = np.array([1, 1, layer.rows.scale, layer.columns.scale], np.float32)
    if layer.scale_y or layer.scale_x:
        if [*map(int, scales[2:] * np.array([layer.input.height, layer.input.width], np.float32))] != [height, width]:
            raise UnsupportedLayerError(f"{layer} has scales that do not make its sides: expected such")
        return graph.add("Resize", x, "", graph.constant(scales), **modes)
    batch = graph.add("Slice", graph.add("Shape", x), graph.integers(0), graph.integers(1))
    sizes = graph.add("Concat", batch, graph.integers(channels, height, width), axis=0)
    return graph.add("Resize", x, "", "", sizes, **modes)


@write_layer.register
def _(layer: Crop, site: Site) -> str:
    graph, (channels, height, width) = site.graph, (layer.input.channels, layer.crop_height, layer.crop_width)
    top, left = (layer.input.height - height) // 2, (layer.input.width - width) // 2
    y = graph.slice(site.planes[0], first=(0, top, left), end=(channels, top + height, left + width))
    return y if layer.noadjust else graph.add("Sub", graph.add("Mul", y, graph.number(2)), graph.number(1))


@write_layer.register
def _(layer: Pad, site: Site) -> str:
    graph, shape = site.graph, layer.input
    border = (layer.top, layer.left, layer.bottom, layer.right)
    top, left, bottom, right = (max(-side, 0) for side in border)
    x = site.planes[0]
    if any((top, left, bottom, right)):
        x = graph.slice(x, first=(0, top, left), end=(shape.channels, shape.height - bottom, shape.width - right))
    before, after = ((0, *(max(side, 0) for side in sides)) for sides in (border[:2], border[2:]))
    if layer.mode != "wrap":
        return graph.pad(x, before=before, after=after, mode=BORDERS[layer.mode])
    for axis, (first, last) in enumerate(zip(before[1:], after[1:], strict=True), 2):  # versions before 19 lack it
        length = (layer.input.height - top - bottom, layer.input.width - left - right)[axis - 2]
        order = np.arange(-first, length + last) % length
        x = graph.add("Gather", x, graph.integers(*order), axis=axis) if first or last else x
    return x


@write_layer.register
def _(layer: Reorg, site: Site) -> str:
    """Index -1 stands for a zero, which is put behind the last value."""
    graph, shape = site.graph, layer.output
    x = graph.vector(site.x)
    if layer.extra:
        x = graph.add("Pad", x, graph.integers(0, 0, 0, 1))
    return graph.planes(graph.add("Gather", x, graph.integers(*layer.order.indices), axis=1), shape)


@write_layer.register
def _(layer: L2Norm, site: Site) -> str:
    (x,) = site.planes
    return site.graph.add("Div", x, site.graph.add("ReduceL2", x, axes=[1], keepdims=1))


@write_layer.register
def _(layer: Implicit, site: Site) -> str:
    """The same values for every image of the batch."""
    assert site.values is not None
    graph, sides = site.graph, layer.output.dimensions
    batch = graph.add("Slice", graph.add("Shape", site.planes[0]), graph.integers(0), graph.integers(1))
    shape = graph.add("Concat", batch, graph.integers(*sides), axis=0)
    return graph.add("Expand", graph.constant(site.values.weights.reshape(1, *sides), "weights"), shape)
