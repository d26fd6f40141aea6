"""A chain as PyTorch's own modules."""

from __future__ import annotations

import torch
from torch import nn

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.values import LayerWeights
from tools.bench.chain import LEAKY_SLOPE, Chain, Link, borders


def module_of(chain: Chain) -> nn.Sequential:
    """The chain as PyTorch's own modules, with the same arrays."""
    return nn.Sequential(*(module for link in chain.links for module in _modules(link)))


def _modules(link: Link) -> list[nn.Module]:
    layer, values = link
    if isinstance(layer, Convolutional):
        sides = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
        convolution = nn.Conv2d(layer.input.channels, layer.filters, layer.size, **sides)
        return [_with_weights(convolution, values), *_activation(layer.activation)]
    if isinstance(layer, Connected):
        outputs, inputs = layer.weights_shape
        return [nn.Flatten(), _with_weights(nn.Linear(inputs, outputs), values), *_activation(layer.activation)]
    if isinstance(layer, MaxPool):
        before, below, right = borders(layer)
        ends = (before, right, before, below)
        border: list[nn.Module] = [nn.ConstantPad2d(ends, float("-inf"))] if any(ends) else []
        return [*border, nn.MaxPool2d(layer.size, layer.stride)]
    if isinstance(layer, AvgPool):
        return [nn.AdaptiveAvgPool2d(1)]
    return [nn.Flatten(), nn.Softmax(dim=1)]


def _with_weights(module: nn.Conv2d | nn.Linear, values: LayerWeights | None) -> nn.Module:
    assert values is not None
    module.weight = nn.Parameter(torch.from_numpy(values.weights.copy()), requires_grad=False)
    module.bias = nn.Parameter(torch.from_numpy(values.biases.copy()), requires_grad=False)
    return module


def _activation(name: str) -> list[nn.Module]:
    if name == "relu":
        return [nn.ReLU(inplace=True)]
    return [nn.LeakyReLU(LEAKY_SLOPE, inplace=True)] if name == "leaky" else []
