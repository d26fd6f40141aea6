"""Quantization-aware training: the network learns with the values that its codes stand for.

Linear codes: weights are rounded to their codes on the way forward, and on the way back the rounding is taken for the
identity ("straight-through estimator", Bengio et al. 2013; Jacob et al. 2018, section 3), so that the float32 weights
behind go on collecting small steps. Inputs of layers are rounded likewise where they have a scale; their gradient
stops where they saturate. Codebooks: which entry a weight has is fixed, and the entries learn (Han et al. 2016, "Deep
compression", section 3.3: the gradients of all weights of an entry are summed). Ours: the sum is divided by the number
of those weights, which is the gradient of free weights projected onto those that share entries, so that learning rates
mean the same as without a codebook. Half precision needs no training: rounding at the end is all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clprune.darknet.network import Network
from clprune.darknet.quantize import QuantizeSettings, layer_name, quantize_network, with_coding
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.quantization.codebook import codebook_coding
from clprune.quantization.coding import CodebookCoding
from clprune.training.module import NetworkModule
from clprune.training.values import Weighted


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What to train for: scheme and bits, and scales of layers' inputs by layer index (None: inputs stay float32)."""

    settings: QuantizeSettings
    activation_scales: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        if self.activation_scales is not None and self.settings.scheme != "linear":
            raise UsageError(f"activations with scheme {self.settings.scheme}: expected linear")

    @property
    def description(self) -> str:
        """A text that is the same for the same quantization."""
        scales = self.activation_scales
        return repr((self.settings, None if scales is None else sorted(scales.items())))


class HeldCodes:
    """A module that computes with quantized values while it is trained.

    Takes hold of `module`, whose weights are those of a network without batch normalization. Raises UsageError for
    one with it, and for weights that are not finite.
    """

    def __init__(self, module: NetworkModule, quantization: Quantization) -> None:
        self._quantization = quantization
        self._codebooks: dict[int, tuple[torch.nn.Parameter, Tensor, Tensor]] = {}
        for layer in module.network.matrix_layers:
            torch_layer = module.layers[layer.index]
            assert isinstance(torch_layer, Weighted)
            if torch_layer.winograd is not None:
                continue  # stays float32, as in quantize_network
            name = layer_name(module.network, layer)
            if layer.batch_normalize:
                raise UsageError(f"{name} has batch normalization: fold it first (clprune.darknet.fold)")
            if quantization.settings.scheme == "linear":
                torch_layer.rounds_weights = True
                torch_layer.input_scale = (quantization.activation_scales or {}).get(layer.index)
            elif quantization.settings.scheme == "codebook":
                self._codebooks[layer.index] = self._hold(torch_layer, name=name)

    def _hold(self, layer: Weighted, *, name: str) -> tuple[torch.nn.Parameter, Tensor, Tensor]:
        """(weights, the code of each in memory order, weights of each code); the weights take their entries' values."""
        coding = codebook_coding(
            np.ascontiguousarray(layer.weights.detach().cpu().numpy()), name=name, bits=self._quantization.settings.bits
        )
        codes = torch.from_numpy(coding.codes.astype(np.int32)).to(layer.weights.device)
        with torch.no_grad():
            layer.weights.copy_(torch.from_numpy(coding.decode()))
        members = torch.bincount(codes.flatten(), minlength=len(coding.codebook)).clamp(min=1)
        if coding.codebook[0] == 0:
            members[0] = 0  # what was pruned does not learn
        return layer.weights, codes, members

    def share_gradients(self) -> None:
        """Call between the backward pass and the optimiser's step: weights of one entry get the same gradient."""
        for weights, codes, members in self._codebooks.values():
            if weights.grad is not None:
                sums = torch.bincount(codes.flatten(), weights=weights.grad.flatten().double(), minlength=len(members))
                means = torch.where(members > 0, sums / members.clamp(min=1), torch.zeros_like(sums))
                weights.grad.copy_(means.to(weights.grad)[codes])

    def code(self, network: Network, weights: Weights) -> Weights:
        """The module's `weights` after training, coded."""
        if self._quantization.settings.scheme != "codebook":
            return quantize_network(
                network, weights, self._quantization.settings, activation_scales=self._quantization.activation_scales
            )
        layers = list(weights.layers)
        for index, (_, codes, members) in self._codebooks.items():
            values = layers[index]
            assert values is not None
            small = codes.cpu().numpy().astype(np.uint8)
            codebook = np.zeros(len(members), np.float32)
            codebook[small] = values.weights  # all weights of an entry hold the same value
            layers[index] = with_coding(values, CodebookCoding(codes=small, codebook=codebook))
        return replace(weights, layers=tuple(layers))
