"""Torch modules of the layers that have weights."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from clprune.darknet.fold import SHORTCUT_EPSILON
from clprune.darknet.kinds import convolutional, joins, normalization
from clprune.darknet.values import LayerWeights
from clprune.errors import UnsupportedLayerError
from clprune.training.activations import activate
from clprune.training.plain_layers import add_up
from clprune.training.values import OwnWeights, ValueModule, Weighted, array_of, copy_into
from clprune.training.windows import blurred, bordered, convolve


class Convolution(Weighted):
    """`[convolutional]`."""

    def __init__(self, layer: convolutional.Convolutional) -> None:
        if layer.shares is not None:
            message = "has the weights of another layer: expected weights of its own for PyTorch"
            raise UnsupportedLayerError(f"{layer} (line {layer.line}) {message}")
        super().__init__(layer)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        x, weights = self.coded(x)
        if self.layer.is_binary:
            weights = _signs(weights, weights.abs().mean((1, 2, 3), keepdim=True))
        window = self.layer.own_window
        if self.layer.xnor:
            x = _signs(x, torch.ones_like(x))
        if self.layer.has_bit_border:
            x, window = bordered(x, window, -1.0), window.inner
        y = convolve(x, weights, window, biases=self.biases, groups=self.layer.groups)
        return blurred(self.layer, self.finish(y))


def _signs(values: Tensor, magnitudes: Tensor) -> Tensor:
    """`magnitudes` with the signs of `values`, that of 0 negative; the gradient is the identity's."""
    return values + (torch.where(values > 0, magnitudes, -magnitudes) - values).detach()


class LocalConvolution(ValueModule):
    """`[local]`: other filters at every place."""

    def __init__(self, layer: convolutional.Local) -> None:
        super().__init__()
        self.layer = layer
        self.weights = nn.Parameter(torch.empty(layer.weights_shape))
        nn.init.normal_(self.weights, std=math.sqrt(2 / layer.columns))
        self.biases = nn.Parameter(torch.zeros(layer.output.elements))

    def forward(self, x: Tensor) -> Tensor:
        window, output = self.layer.window, self.layer.output
        sides = (window.size_y, window.size_x)
        columns = functional.unfold(bordered(x, window, 0.0), sides, stride=(window.stride_y, window.stride_x))
        y = torch.einsum("nkp,pmk->nmp", columns, self.weights.flatten(2))
        y = y.reshape(-1, output.channels, output.height, output.width)
        return activate(self.layer.activation, y + self.biases.view(y.shape[1:]))

    def load(self, values: LayerWeights) -> None:
        copy_into(self.weights, values.weights.reshape(self.weights.shape))
        copy_into(self.biases, values.biases)

    def store(self) -> LayerWeights:
        return LayerWeights(weights=array_of(self.weights), biases=array_of(self.biases))


class Connected(Weighted):
    """`[connected]`: the input is flattened in CHW order."""

    def initialize(self) -> None:
        # torch.nn.Linear's own: He's would give logits that, before anything is learned, are confidently wrong
        nn.init.kaiming_uniform_(self.weights, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        # contiguous() first: flattening a channels-last tensor in place would be HWC order
        x, weights = self.coded(x.contiguous().flatten(1))
        return self.finish(functional.linear(x, weights, self.biases)[:, :, None, None])


class Implicit(OwnWeights):
    """`[implicit]`: the same values for every image of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weights.expand(len(x), *self.weights.shape)


class GroupNorm(OwnWeights):
    """`[groupnorm]`."""

    layer: normalization.GroupNorm

    def __init__(self, layer: normalization.GroupNorm) -> None:
        super().__init__(layer)
        self.biases = nn.Parameter(torch.zeros(layer.input.channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.group_norm(x, self.layer.groups, self.weights, self.biases, self.layer.epsilon)

    def load(self, values: LayerWeights) -> None:
        super().load(values)
        copy_into(self.biases, values.biases)

    def store(self) -> LayerWeights:
        return replace(super().store(), biases=array_of(self.biases))


class WeightedShortcut(OwnWeights):
    """`[shortcut]` whose summands have weights."""

    layer: joins.Shortcut

    def forward(self, *summands: Tensor) -> Tensor:
        weights = self.weights.view(len(summands), -1)
        if self.layer.weights_normalization == "relu":
            weights = weights.relu()
        elif self.layer.weights_normalization == "softmax":
            weights = (weights - weights.amax(0)).exp()
        if self.layer.weights_normalization != "none":
            weights = weights / (SHORTCUT_EPSILON + weights.sum(0))
        channels = summands[0].shape[1]
        scales = weights.expand(-1, channels)[:, :, None, None]
        parts = [x[:, :channels] * scale[: x.shape[1]] for x, scale in zip(summands, scales, strict=True)]
        return add_up(self.layer, *parts)
