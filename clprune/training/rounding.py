"""Values rounded to linear codes on the way forward, with the identity's gradient (`clprune.training.quantize`)."""

from __future__ import annotations

import torch
from torch import Tensor

from clprune.quantization.coding import LARGEST_CODE
from clprune.quantization.linear import SMALLEST_SCALE


def round_weights(weights: Tensor) -> Tensor:
    """float32 `[output channels, ...]` to the values that `linear_coding` gives them; the gradient passes through."""
    rows = weights.detach().flatten(1)
    largest = rows.abs().amax(dim=1)
    scales = torch.where(largest > 0, (largest / LARGEST_CODE).clamp(min=SMALLEST_SCALE), torch.ones_like(largest))
    scales = scales.view(-1, *[1] * (weights.dim() - 1))
    rounded = (weights.detach() / scales).round().clamp(-LARGEST_CODE, LARGEST_CODE) * scales
    return rounded + (weights - weights.detach())  # the second summand is zero and has the gradient


def round_input(x: Tensor, *, scale: float) -> Tensor:
    """Values of any shape to the nearest of `scale` x (-127 to 127); the gradient passes where nothing saturates."""
    clipped = x.clamp(-LARGEST_CODE * scale, LARGEST_CODE * scale)
    inverse = 1 / torch.tensor(scale, dtype=torch.float32)  # as devices have it
    rounded = (clipped.detach() * inverse).round().clamp(-LARGEST_CODE, LARGEST_CODE) * scale
    return rounded + (clipped - clipped.detach())
