"""Normalization: with the statistics of training, and across neighbouring channels."""

from __future__ import annotations

from dataclasses import dataclass

from clprune.darknet.kinds.base import Layer, integer, number, statistics


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """Batch normalization per channel with the statistics of the weights file."""

    names = ("batchnorm",)
    carries_channels = True
    optional_arrays = ("biases",)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        return {"biases": (self.input.channels,), **statistics(self.input.channels)}


@dataclass(frozen=True, kw_only=True)
class Normalization(Layer):
    """Local response normalization across channels: x * (kappa + alpha * sum of squares) ** -beta.

    The sum covers channels k - (size - 1) // 2 to k + size // 2; `alpha` is not divided by `size`. Darknet starts
    channel 0 with the squares of channels 0 to size // 2 - 1 only, and channel k carries that sum on.
    """

    names = ("normalization", "lrn")

    alpha: float = number(0.0001)
    beta: float = number(0.75)
    kappa: float = number(1.0)
    size: int = integer(5)
