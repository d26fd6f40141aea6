"""A network as one torch module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.network import Network
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.training.layers import Dropout, make_layer
from clprune.training.winograd_layer import WinogradConvolution


class NetworkModule(nn.Module):
    """`network` for training: float32 `[batch, channels, height, width]` in 0..1 to logits `[batch, outputs]`.

    A softmax at the end is left out: losses want logits. The layers of `winograd` (layer index -> output tile m) have
    their weights in the Winograd domain. Raises UnsupportedLayerError for layers that cannot be trained, a softmax
    elsewhere among them, UsageError for a layer that has no Winograd domain.
    """

    def __init__(self, network: Network, *, winograd: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.network = network
        tiles = winograd or {}
        self.layers = nn.ModuleList(_make_layer(layer, tiles.get(layer.index)) for layer in network.layers)
        last = network.output_layer.index
        for layer in network.layers[:last]:
            if isinstance(layer, Softmax):
                raise UnsupportedLayerError(f"{layer} (line {layer.line}): a softmax can be trained only at the end")
        # what no later layer but the next one reads is dropped at once, so that training needs no more memory
        self._needed_later = {
            source for layer in network.layers for source in layer.sources if source != layer.index - 1
        }

    def set_dropout_strength(self, strength: float) -> None:
        """Multiply the cfg's dropout probabilities by `strength`, 0 to 1, from now on."""
        for layer in self.layers:
            if isinstance(layer, Dropout):
                layer.strength = strength

    def forward(self, images: Tensor) -> Tensor:
        kept: dict[int, Tensor] = {}
        current = images
        for layer, module in zip(self.network.layers, self.layers, strict=True):
            if layer.index - 1 in self._needed_later:
                kept[layer.index - 1] = current
            sources = [current if source == layer.index - 1 else kept[source] for source in layer.sources]
            current = cast(Tensor, module(*sources))
        return current.contiguous().flatten(1)


def _make_layer(layer: Layer, winograd: int | None) -> nn.Module:
    if winograd is None:
        return make_layer(layer)
    if not isinstance(layer, Convolutional) or not layer.has_winograd_domain:
        raise UsageError(f"{layer} (line {layer.line}): expected a 3x3 convolution of stride 1 without groups")
    return WinogradConvolution(layer, winograd=winograd)
