"""A network as one torch module, and weights of a file into it and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from clprune.darknet.kinds.base import Layer, MatrixLayer
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.network import Network
from clprune.darknet.quantize import input_scale
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.training.layers import make_layer
from clprune.training.plain_layers import Dropout
from clprune.training.values import Normalize, ValueModule, Weighted
from clprune.training.winograd_layer import WinogradConvolution


class NetworkModule(nn.Module):
    """`network` in PyTorch: float32 `[batch, channels, height, width]` to `[batch, outputs]`, trainable.

    With `answers` these are what `Runner` gives. Without they are logits, which losses want: heads and a softmax at the
    end are left out. The layers of `winograd` (layer index -> output tile m) have their weights in the Winograd domain.
    Raises UnsupportedLayerError for layers that have no module, and without `answers` for a softmax elsewhere or of
    each place; UsageError for a layer that has no Winograd domain.
    """

    def __init__(self, network: Network, *, winograd: Mapping[int, int] | None = None, answers: bool = False) -> None:
        super().__init__()
        self.network = network
        tiles = winograd or {}
        self.layers = nn.ModuleList(_make_layer(layer, tiles.get(layer.index)) for layer in network.layers)
        last = network.output_layers[-1].index
        for layer in () if answers else network.layers:
            if layer.is_head:
                self.layers[layer.index] = nn.Identity()
            if isinstance(layer, Softmax):
                if layer.index < last or layer.spatial:
                    where = "over one answer for the whole image" if layer.spatial else "at the end"
                    raise UnsupportedLayerError(f"{layer} (line {layer.line}): a softmax can be trained only {where}")
                self.layers[layer.index] = nn.Identity()
        # what no later layer but the next one reads is dropped at once, so that training needs no more memory
        self._needed_later = {
            source for layer in network.layers for source in layer.sources if source != layer.index - 1
        }

    def set_dropout_strength(self, strength: float) -> None:
        """Multiply the cfg's dropout probabilities by `strength`, 0 to 1, from now on."""
        for layer in self.layers:
            if isinstance(layer, Dropout):
                layer.strength = strength

    def hold_statistics(self) -> None:
        """Leave means and variances of batch normalization as they are from now on."""
        for layer in self.modules():
            if isinstance(layer, Normalize):
                layer.holds_statistics = True

    def forward(self, images: Tensor) -> Tensor:
        values = [output.contiguous().flatten(1) for output in self.outputs(images)]
        return values[0] if len(values) == 1 else torch.cat(values, 1)

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """What every output layer of the network gives, `[batch, channels, height, width]` each."""
        kept: dict[int, Tensor] = {}
        answers: dict[int, Tensor] = {}
        wanted = [layer.index for layer in self.network.output_layers]
        current = images
        for layer, module in zip(self.network.layers, self.layers, strict=True):
            if layer.index - 1 in self._needed_later:
                kept[layer.index - 1] = current
            sources = [current if source == layer.index - 1 else kept[source] for source in layer.sources]
            current = cast(Tensor, module(*sources))
            if layer.index in wanted:
                answers[layer.index] = current
        return tuple(answers[index] for index in wanted)


def _make_layer(layer: Layer, winograd: int | None) -> nn.Module:
    if winograd is None:
        return make_layer(layer)
    if not isinstance(layer, Convolutional) or not layer.has_winograd_domain:
        raise UsageError(f"{layer} (line {layer.line}): expected a 3x3 convolution of stride 1 without groups")
    return WinogradConvolution(layer, winograd=winograd)


def load_layer(layer: Layer, values: LayerWeights) -> nn.Module:
    """The module of one layer with copies of `values`, in the domain where they are."""
    module = _make_layer(layer, values.winograd)
    if isinstance(module, ValueModule):
        with torch.no_grad():
            module.load(values)
    return module


def load_module(network: Network, weights: Weights | None = None, *, answers: bool = False) -> NetworkModule:
    """A module of `network` that holds copies of `weights`, or torch's current random state's initial values.

    With `answers` it gives those of `Runner`, inputs of layers that are codes there rounded here as well.
    Layers whose weights are in the Winograd domain stay there. Raises UsageError where a layer's weights are
    missing, or no layer has any, UnsupportedLayerError for layers that cannot be trained.
    """
    found = [] if weights is None else [values.winograd if values else None for values in weights.layers]
    winograd = {index: tile for index, tile in enumerate(found) if tile is not None}
    module = NetworkModule(network, winograd=winograd, answers=answers)
    if not answers and next(module.parameters(), None) is None:
        raise UsageError(f"{network.path}: no layer has weights: expected a network that can learn")
    if weights is not None:
        with torch.no_grad():
            for layer, torch_layer in zip(network.layers, module.layers, strict=True):
                if not isinstance(torch_layer, ValueModule):
                    continue
                values = weights.layers[layer.index]
                if values is None:
                    raise UsageError(f"{layer} has no weights: expected a file that holds them (and no dontload=1)")
                torch_layer.load(values)
                if answers and isinstance(layer, MatrixLayer) and isinstance(torch_layer, Weighted):
                    torch_layer.input_scale = input_scale(layer, values)
    return module


def store_weights(module: NetworkModule, *, seen: int = 0) -> Weights:
    """Copies of the module's values as float32 arrays; `seen` is the number of training images for the header."""
    layers = tuple(layer.store() if isinstance(layer, ValueModule) else None for layer in module.layers)
    return Weights(layers=layers, seen=seen)
