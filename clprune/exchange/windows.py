"""Sliding windows in ONNX: attributes of operators, poolings, and the blur that may follow."""

from __future__ import annotations

from typing import Any

import numpy as np

from clprune.darknet.kinds.convolutional import Local
from clprune.darknet.kinds.pools import LocalAvgPool, MaxPool, WindowPool
from clprune.darknet.kinds.windowed import WindowedLayer
from clprune.errors import UnsupportedLayerError
from clprune.exchange.activations import activate
from clprune.exchange.graph import Graph, Site
from clprune.geometry import Window


def window_attributes(window: Window) -> dict[str, Any]:
    """Attributes of `Conv`, `MaxPool` and `AveragePool`."""
    attributes: dict[str, Any] = {
        "kernel_shape": [window.size_y, window.size_x],
        "strides": [window.stride_y, window.stride_x],
        "pads": list(window.padding),
    }
    dilations = [window.dilation_y, window.dilation_x]
    return attributes if dilations == [1, 1] else {**attributes, "dilations": dilations}


def write_pool(layer: WindowPool, site: Site) -> str:
    """The maximum or mean of windows, or the maximum of channels. Raises UnsupportedLayerError."""
    graph, (x,) = site.graph, site.planes
    if isinstance(layer, MaxPool) and layer.depth_channels:
        return _max_of_channels(layer, graph, x)
    attributes, window = window_attributes(layer.own_window), layer.own_window
    # no more border than windows reach: runtimes refuse as much as a window
    ends = ((layer.inner.height - 1) * window.stride_y + window.extent_y - window.top - layer.input.height,
            (layer.inner.width - 1) * window.stride_x + window.extent_x - window.left - layer.input.width)  # fmt: skip
    attributes["pads"] = [window.top, window.left, *(max(end, 0) for end in ends)]
    places = attributes["kernel_shape"] * 2
    if any(border >= size for border, size in zip(attributes["pads"], places, strict=True)):
        found = f"a border of {max(attributes['pads'])} pixels beside windows of {window.size_y}x{window.size_x}"
        raise UnsupportedLayerError(f"{layer} (line {layer.line}) has {found}: ONNX expects narrower ones")
    if not isinstance(layer, LocalAvgPool):
        return blur(layer, graph, graph.add("MaxPool", x, **attributes))
    if "dilations" in attributes:
        raise UnsupportedLayerError(f"{layer} (line {layer.line}): ONNX has no mean of windows with dilation")
    return blur(layer, graph, graph.add("AveragePool", x, count_include_pad=int(layer.count_border), **attributes))


def write_local(layer: Local, site: Site) -> str:
    """Other filters at every place: windows gathered by a convolution with ones, then a product for each place."""
    graph, window, values = site.graph, layer.window, site.values
    assert values is not None
    size, (channels, height, width) = window.size_y * window.size_x, layer.output.dimensions
    ones = np.tile(np.eye(size, dtype=np.float32), (layer.input.channels, 1))
    gather = graph.constant(ones.reshape(-1, 1, window.size_y, window.size_x))
    x = graph.add("Conv", *site.planes, gather, group=layer.input.channels, **window_attributes(window))
    columns = graph.add("Transpose", graph.reshape(x, layer.columns, height * width, 1), perm=[0, 2, 1, 3])
    weights = graph.constant(values.weights.reshape(height * width, channels, layer.columns), "weights")
    y = graph.add("Transpose", graph.add("MatMul", weights, columns), perm=[0, 2, 1, 3])
    biases = graph.constant(values.biases.reshape(channels, height, width), "biases")
    return activate(graph, layer.activation, graph.add("Add", graph.reshape(y, channels, height, width), biases))


def blur(layer: WindowedLayer, graph: Graph, x: str) -> str:
    """x blurred as `antialiasing` says."""
    window, channels = layer.blur, layer.output.channels
    if window is None:
        return x
    filters = np.tile(np.array(layer.blur_weights, np.float32), channels)
    weights = graph.constant(filters.reshape(channels, 1, window.size_y, window.size_x))
    return graph.add("Conv", x, weights, group=channels, **window_attributes(window))


def _max_of_channels(layer: MaxPool, graph: Graph, x: str) -> str:
    shape, count = layer.input, layer.depth_channels
    if shape.channels % count:
        found = f"out_channels={count} does not divide the {shape.channels} channels"
        raise UnsupportedLayerError(f"{layer} (line {layer.line}): {found}: expected a divisor to write it as ONNX")
    parts = [
        graph.slice(x, first=(first, 0, 0), end=(first + count, shape.height, shape.width))
        for first in range(0, shape.channels, count)
    ]
    return graph.add("Max", *parts)
