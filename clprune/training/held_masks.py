"""Masks that hold while a network is retrained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from clprune.errors import UsageError
from clprune.pruning.unit import Mask
from clprune.training.module import NetworkModule
from clprune.training.values import Weighted


class HeldMasks:
    """Keeps removed weights at exactly zero.

    Their gradients are cleared before each step, so that momentum and second moments, which start at zero, stay zero
    as well; the weights are cleared after it.
    """

    def __init__(self, module: NetworkModule, masks: Mapping[int, Mask]) -> None:
        self._pairs: list[tuple[torch.nn.Parameter, Tensor]] = []
        for index, mask in masks.items():
            layer = module.layers[index]
            if not isinstance(layer, Weighted):
                raise UsageError(f"a mask for layer {index}, which has no weights to prune")
            if mask.shape != layer.mask_shape:
                raise UsageError(f"a mask of {mask.shape} for layer {index}: expected one of {layer.mask_shape}")
            factors = torch.from_numpy(mask).reshape(layer.weights.shape).to(layer.weights)
            self._pairs.append((layer.weights, factors.contiguous(memory_format=_memory_format(layer.weights))))
        self.clear_weights()

    def clear_gradients(self) -> None:
        """Call between the backward pass and the optimiser's step."""
        for weights, factors in self._pairs:
            if weights.grad is not None:
                weights.grad.mul_(factors)

    @torch.no_grad()
    def clear_weights(self) -> None:
        """Call after the optimiser's step."""
        for weights, factors in self._pairs:
            weights.mul_(factors)


def _memory_format(weights: Tensor) -> torch.memory_format:
    channels_last = weights.dim() == 4 and weights.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
