"""PyTorch, eager, on a CPU or on a GPU with cuDNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.values import LayerWeights
from tools.bench.chain import LEAKY_SLOPE, Chain, Link, borders
from tools.bench.peers.options import load_chain
from tools.bench.serve import FloatArray


class PytorchEngine:
    """Options: model, weights, batch, threads, memory_format ("contiguous" or "channels_last"), device ("cpu" or
    "cuda"), tf32 (whether matrix units may round float32 to 10 bits of mantissa).
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        torch.set_num_threads(options["threads"])
        torch.backends.cuda.matmul.allow_tf32 = options["tf32"]
        torch.backends.cudnn.allow_tf32 = options["tf32"]
        torch.backends.cudnn.benchmark = True  # measure cuDNN's algorithms and take the fastest
        self._device = torch.device(options["device"])
        formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
        self._format = formats[options["memory_format"]]
        self._module = module_of(load_chain(options)).eval().to(self._device, memory_format=self._format)

    def describe(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"version": torch.__version__}
        if self._device.type == "cuda":
            facts |= {
                "device": torch.cuda.get_device_name(self._device),
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
            }
        return facts

    def run(self, x: FloatArray) -> FloatArray:
        with torch.inference_mode():
            images = torch.from_numpy(x).to(self._device).contiguous(memory_format=self._format)
            answer: FloatArray = self._module(images).cpu().numpy()
        return answer


def module_of(chain: Chain) -> nn.Sequential:
    """The chain as PyTorch's own modules, with the same arrays."""
    modules: list[nn.Module] = []
    for link in chain.links:
        modules += _modules(link)
    return nn.Sequential(*modules)


def _modules(link: Link) -> list[nn.Module]:
    layer, values = link
    if isinstance(layer, Convolutional):
        convolution = nn.Conv2d(
            layer.input.channels,
            layer.filters,
            layer.size,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
        )
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


def load(options: Mapping[str, Any]) -> PytorchEngine:
    return PytorchEngine(options)
