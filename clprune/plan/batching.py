"""A batch image by image: which layers run so, and the tensors that are one image of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import Network


@dataclass(frozen=True, kw_only=True)
class TensorView:
    """A part of the tensor `tensor`, which is none itself: image number `image` or (None) all, and from channel
    `first_channel` on as many as the part's layout has.
    """

    tensor: int
    image: int | None = None
    first_channel: int = 0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of layers planned for `batch` images at once: image number `image` of the batch, or all (None).

    `names` maps a layer's index (-1: the input) to the plan's tensor that holds its output in this part.
    """

    batch: int
    image: int | None
    names: Mapping[int, int]


#: Input and output of a layer, for the whole batch, that may be expected to stay in a CPU's caches.
CACHED_BYTES = 8 * 2**20


#: Launches of such a part beyond which planning and binding them would take longer than the caches save.
MOST_LAUNCHES = 5_000


def image_part_end(network: Network, fused: Mapping[int, int]) -> int:
    """Number of leading layers that gain from taking a batch image by image: those that spill the caches otherwise.

    Fully connected layers gain from the whole batch instead, as they read each weight once for all images, and so do
    small planes, which fill vectors better together. The part ends where only such layers follow, if nothing behind
    looks back further than the layer at its end; else nothing is split. `fused` maps convolutions to the layer that
    they compute as well, which must not be cut off. The network's answers do not lie inside, either.
    """
    layers = network.layers
    connected = next((layer.index for layer in layers if isinstance(layer, Connected)), len(layers))
    end = max((layer.index + 1 for layer in layers[:connected] if _bytes(layer, network) > CACHED_BYTES), default=0)
    for first, last in sorted(fused.items()):
        if first < end <= last:
            end = last + 1
    if end * network.batch > MOST_LAUNCHES:
        return 0
    looks_back = any(source < end - 1 for layer in layers[end:] for source in layer.sources) or any(
        layer.index < end - 1 for layer in network.output_layers
    )
    return 0 if looks_back else end


def _bytes(layer: Layer, network: Network) -> int:
    return 4 * network.batch * (layer.input.elements + layer.output.elements)
