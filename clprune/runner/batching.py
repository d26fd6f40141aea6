"""A batch image by image: which layers run so, and the tensors that are one image of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clprune.darknet.layers import Connected
from clprune.darknet.network import Network
from clprune.layout import Layout


@dataclass(frozen=True, kw_only=True)
class ImageView:
    """Image number `image` of the tensor `tensor`."""

    tensor: int
    image: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of layers planned for `batch` images at once: image number `image` of the batch, or all (None).

    `names` maps a layer's index (-1: the input) to the plan's tensor that holds its output in this part, `layouts` to
    the layout that it has there.
    """

    batch: int
    image: int | None
    layouts: Mapping[int, Layout]
    names: Mapping[int, int]


def image_part_end(network: Network) -> int:
    """Number of leading layers that gain from taking a batch image by image.

    Fully connected layers gain from the whole batch instead: they read each weight once for all images. The part ends
    before the first of them, if nothing behind looks back further than the layer at its end; else nothing is split.
    """
    layers = network.layers
    end = next((layer.index for layer in layers if isinstance(layer, Connected)), len(layers))
    looks_back = any(source < end - 1 for layer in layers[end:] for source in layer.sources)
    return 0 if looks_back else end
