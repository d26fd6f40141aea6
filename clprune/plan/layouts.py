"""Which layout each tensor of a network gets: zero padding for convolutions, one pitch on both sides of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from clprune.darknet.kinds.convolutional import Convolutional, Local
from clprune.darknet.kinds.functions import Implicit
from clprune.darknet.kinds.joins import Route, Shortcut
from clprune.darknet.kinds.pools import MaxPool
from clprune.darknet.network import Network
from clprune.geometry import Shape
from clprune.layout import Layout, contiguous_layout, padded_layout

#: The tensor that holds the network's input; tensor i >= 0 is the output of layer i.
NETWORK_INPUT = -1


def tensor_aliases(network: Network, fused: Mapping[int, int]) -> dict[int, int]:
    """Tensor -> the tensor that holds its values: layers that change nothing at inference have none of their own.

    `fused` maps convolutions to the pooling or shortcut that they compute as well; such a convolution's own output is
    nowhere.
    """
    aliases = {NETWORK_INPUT: NETWORK_INPUT}
    for layer in network.layers:
        aliases[layer.index] = aliases[layer.sources[0]] if layer.is_identity else layer.index
    return {tensor: alias for tensor, alias in aliases.items() if tensor not in fused}


def tensor_shapes(network: Network) -> dict[int, Shape]:
    """Shape of one image of every tensor."""
    return {NETWORK_INPUT: network.input} | {layer.index: layer.output for layer in network.layers}


def parts_of_tensors(network: Network, fused: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Tensor -> (the tensor that it is a part of, its first channel there), so that routes need no copies.

    What a route joins is written where it belongs, unless it is a part of another tensor already, one of the network's
    answers, or written by nobody. What it takes of a single layer is a part of that. `fused` as in `tensor_aliases`.
    """
    aliases = tensor_aliases(network, fused)
    fixed = {NETWORK_INPUT, *(aliases[layer.index] for layer in network.output_layers)}
    fixed |= {layer.index for layer in network.layers if isinstance(layer, Implicit)}
    parts: dict[int, tuple[int, int]] = {}
    found: dict[int, tuple[int, int]] = {}
    for layer in network.layers:
        if not isinstance(layer, Route) or layer.is_identity:
            continue
        sources = [aliases[source] for source in layer.sources]
        if layer.groups > 1:
            is_one = len(sources) == 1 and sources[0] != NETWORK_INPUT and layer.index not in fixed
            found = {layer.index: (sources[0], layer.group_id * layer.output.channels)} if is_one else {}
        else:
            counts = [network.layers[source].output.channels if source >= 0 else 0 for source in sources]
            firsts = itertools.accumulate(counts, initial=0)
            places = zip(sources, firsts, strict=False)
            found = {}
            for source, first in places:
                if source not in fixed:
                    found.setdefault(source, (layer.index, first))
        parts |= {tensor: place for tensor, place in found.items() if tensor not in parts}
    return parts


def whole_and_channel(tensor: int, parts: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    """The tensor that `tensor` is in the end a part of, itself where it is none, and its first channel there."""
    first = 0
    while tensor in parts:
        tensor, channel = parts[tensor]
        first += channel
    return tensor, first


def assign_layouts(
    network: Network, fused: Mapping[int, int], *, batch: int, parts: Mapping[int, tuple[int, int]] | None = None
) -> dict[int, Layout]:
    """Layout of every tensor for `batch` images; `fused` as in `tensor_aliases`, `parts` from `parts_of_tensors`.

    Tensors joined by a convolution of stride 1 share pitch and padding, so that output positions and input positions
    differ by a constant and vectors may run over row ends (mapping "flat" of the kernel). Tensors that no convolution
    touches are contiguous.
    """
    aliases, shapes = tensor_aliases(network, fused), tensor_shapes(network)
    joined = {tensor: tensor for tensor in aliases.values()}
    padding = dict.fromkeys(joined, 0)
    touched: set[int] = set()
    parts = parts or {}
    wholes = {tensor: whole_and_channel(tensor, parts) for tensor in joined}

    def root(tensor: int) -> int:
        while joined[tensor] != tensor:
            tensor = joined[tensor]
        return tensor

    for layer in network.layers:
        if isinstance(layer, Convolutional | Local):
            source = aliases[layer.sources[0]]
            padding[source] = max(padding[source], *layer.window.padding)
            touched.add(source)
        if isinstance(layer, Convolutional):
            own = fused.get(layer.index, layer.index)
            touched.add(own)
            follower = network.layers[own]
            if isinstance(follower, Shortcut):  # what is added lies like the sum
                touched.add(aliases[follower.sources[1]])
                joined[root(own)] = root(aliases[follower.sources[1]])
            if layer.window.is_dense and layer.blur is None and not isinstance(follower, MaxPool):
                joined[root(own)] = root(source)
    for tensor, (whole, _) in wholes.items():
        joined[root(tensor)] = root(whole)
    touched_wholes = {wholes[tensor][0] for tensor in touched}
    shared_padding: dict[int, int] = {}
    shared_pitch: dict[int, int] = {}
    for tensor in joined:
        shared_padding[root(tensor)] = max(shared_padding.get(root(tensor), 0), padding[tensor])
    for tensor in joined:
        pitch = shapes[tensor].width + shared_padding[root(tensor)]
        shared_pitch[root(tensor)] = max(shared_pitch.get(root(tensor), 0), pitch)
    layouts = {
        tensor: padded_layout(
            batch=batch,
            shape=shapes[tensor],
            pitch=shared_pitch[root(tensor)],
            padding=shared_padding[root(tensor)],
        )
        if tensor in touched_wholes
        else contiguous_layout(batch=batch, shape=shapes[tensor])
        for tensor in joined
        if tensor not in parts
    }
    return {
        tensor: layouts[whole].of_channels(first, shapes[tensor].channels) if tensor in parts else layouts[tensor]
        for tensor, (whole, first) in wholes.items()
    }
