"""Which ONNX operators compute a layer: one function for each kind, found by the layer's class."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional, Local
from clprune.darknet.kinds.functions import Activation, Cost, Dropout, Empty, Softmax
from clprune.darknet.kinds.heads import ChannelRun, Head, runs_of
from clprune.darknet.kinds.joins import Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm, Normalization
from clprune.darknet.kinds.planes import Crop, Upsample
from clprune.darknet.kinds.pools import AvgPool, WindowPool
from clprune.exchange.activations import activate
from clprune.exchange.graph import Graph, Site
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


@write_layer.register(Cost)
@write_layer.register(Dropout)
@write_layer.register(Empty)
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
    before, after = (layer.size - 1) // 2, layer.size // 2
    sums = np.tri(channels, k=after, dtype=np.float32) - np.tri(channels, k=-before - 1, dtype=np.float32)
    sums[:, after : after + 1] -= 1
    weights = graph.constant((layer.alpha * sums).astype(np.float32).reshape(channels, channels, 1, 1))
    kappa = graph.constant(np.full(channels, layer.kappa, np.float32))
    squares = graph.add("Conv", graph.add("Mul", x, x), weights, kappa)
    return graph.add("Mul", x, graph.add("Pow", squares, graph.number(-layer.beta)))


@write_layer.register
def _(layer: Softmax, site: Site) -> str:
    graph, x = site.graph, site.graph.vector(site.x)
    if layer.temperature != 1:
        x = graph.add("Div", x, graph.number(layer.temperature))
    if layer.tree is not None:
        return _write_runs(graph, x, runs_of([(size, "softmax", 1.0) for size in layer.tree.group_sizes]))
    if layer.groups == 1:
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
def _(layer: Route, site: Site) -> str:
    parts = site.planes
    if layer.groups > 1:
        ends = [(layer.group_id * shape.channels // layer.groups, shape) for shape in site.shapes]
        parts = tuple(
            site.graph.slice(
                plane, first=(first, 0, 0), end=(first + shape.channels // layer.groups, shape.height, shape.width)
            )
            for plane, (first, shape) in zip(parts, ends, strict=True)
        )
    return site.x if layer.is_identity else site.graph.add("Concat", *parts, axis=1)


@write_layer.register
def _(layer: Upsample, site: Site) -> str:
    graph, sides = site.graph, (1, 1, layer.stride, layer.stride)
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = graph.add("Resize", site.planes[0], "", graph.constant(np.array(sides, np.float32)), **modes)
    return y if layer.scale == 1 else graph.add("Mul", y, graph.number(layer.scale))


@write_layer.register
def _(layer: Crop, site: Site) -> str:
    graph, (channels, height, width) = site.graph, (layer.input.channels, layer.crop_height, layer.crop_width)
    top, left = (layer.input.height - height) // 2, (layer.input.width - width) // 2
    y = graph.slice(site.planes[0], first=(0, top, left), end=(channels, top + height, left + width))
    return y if layer.noadjust else graph.add("Sub", graph.add("Mul", y, graph.number(2)), graph.number(1))


@write_layer.register
def _(layer: Shortcut, site: Site) -> str:
    """Sums where the shapes differ: the other plane's share is brought to the previous one's shape, zeros elsewhere."""
    if not layer.is_plain:
        return layer.write_onnx(site)
    graph, (previous, other), (to, added) = site.graph, site.planes, site.shapes
    scale = np.full((1, 1, 1), layer.alpha, np.float32)
    if to != added:
        channels = min(to.channels, added.channels)
        steps = max(added.width // to.width, 1), max(to.width // added.width, 1)
        height, width = min(to.height, added.height), min(to.width, added.width)
        places = (slice(0, channels), slice(0, height * steps[1], steps[1]), slice(0, width * steps[1], steps[1]))
        ends = (channels, height * steps[0], width * steps[0])
        other = graph.slice(other, first=(0, 0, 0), end=ends, steps=(1, steps[0], steps[0]))
        if steps[1] > 1:
            ones = graph.constant(np.ones((channels, 1, 1, 1), np.float32))
            other = graph.add("ConvTranspose", other, ones, group=channels, strides=[steps[1]] * 2)
        reach = channels, (height - 1) * steps[1] + 1, (width - 1) * steps[1] + 1
        whole = to.channels, to.height, to.width
        other = graph.pad(other, before=(0, 0, 0), after=[a - b for a, b in zip(whole, reach, strict=True)])
        scale = np.ones(whole, np.float32)
        scale[places] = layer.alpha
    if layer.alpha != 1:
        previous = graph.add("Mul", previous, graph.constant(scale))
    if layer.beta != 1:
        other = graph.add("Mul", other, graph.number(layer.beta))
    return activate(graph, layer.activation, graph.add("Add", previous, other))
