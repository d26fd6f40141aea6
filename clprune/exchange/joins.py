"""The operators of layers that join the outputs of several others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clprune.darknet.fold import shortcut_scales
from clprune.darknet.kinds.joins import Product, Route, Shortcut
from clprune.exchange.activations import activate
from clprune.exchange.graph import Graph, Site
from clprune.geometry import Shape


def write_route(layer: Route, site: Site) -> str:
    """Channels one after another, of each source those of one group."""
    if layer.is_identity:
        return site.x
    parts = []
    for x, shape in zip(site.planes, site.shapes, strict=True):
        count = shape.channels // layer.groups
        parts.append(_channels(site.graph, x, shape, first=layer.group_id * count, count=count))
    return site.graph.add("Concat", *parts, axis=1)


def write_product(layer: Product, site: Site) -> str:
    """A product of planes, or with a factor for each channel or each place."""
    return activate(site.graph, layer.activation, site.graph.add("Mul", *reversed(site.planes)))


def write_shortcut(layer: Shortcut, site: Site) -> str:
    """The sum of all sources, with the stored weights of their channels where there are some."""
    graph, summands = site.graph, list(zip(site.planes, site.shapes, strict=True))
    if layer.arrays:
        assert site.values is not None
        for number, scale in enumerate(shortcut_scales(layer, site.values)):
            x, shape = summands[number]
            count = min(shape.channels, layer.output.channels)
            factors = graph.constant(scale[:count].reshape(-1, 1, 1))
            scaled = graph.add("Mul", _channels(graph, x, shape, first=0, count=count), factors)
            summands[number] = scaled, replace(shape, channels=count)
    total = summands[0][0]
    for other, added in summands[1:]:
        total = _add(layer, graph, total, other, added)
    return activate(graph, layer.activation, total)


def _channels(graph: Graph, x: str, shape: Shape, *, first: int, count: int) -> str:
    """`count` channels of `x` from `first` on."""
    if count == shape.channels:
        return x
    return graph.slice(x, first=(first, 0, 0), end=(first + count, shape.height, shape.width))


def _add(layer: Shortcut, graph: Graph, previous: str, other: str, added: Shape) -> str:
    """`alpha * previous + beta * other`. Where the shapes differ, the share of `other`, of shape `added`, is brought to
    the shape of `previous`, with zeros elsewhere.
    """
    to, scale = layer.output, np.full((1, 1, 1), layer.alpha, np.float32)
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
        after = [whole - part for whole, part in zip(to.dimensions, reach, strict=True)]
        other = graph.pad(other, before=(0, 0, 0), after=after)
        scale = np.ones(to.dimensions, np.float32)
        scale[places] = layer.alpha
    if layer.alpha != 1:
        previous = graph.add("Mul", previous, graph.constant(scale))
    if layer.beta != 1:
        other = graph.add("Mul", other, graph.number(layer.beta))
    return graph.add("Add", previous, other)
