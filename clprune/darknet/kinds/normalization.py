"""Normalization: with the statistics of training, across neighbouring channels, and by each image's own statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clprune.darknet.kinds.base import Layer, OptionError, boolean, integer, number, statistics
from clprune.geometry import Shape


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
    channel 0 with the squares of channels 0 to size // 2 - 1 only, and channel k carries that sum on; with `full`,
    clprune's own key, nothing is left out.
    """

    names = ("normalization", "lrn")

    alpha: float = number(0.0001)
    beta: float = number(0.75)
    kappa: float = number(1.0)
    size: int = integer(5)
    full: bool = boolean()

    @property
    def skipped(self) -> int:
        """The channel whose square sums lack, -1 for none."""
        return -1 if self.full else self.size // 2


@dataclass(frozen=True, kw_only=True)
class GroupNorm(Layer):
    """clprune's own: each of `groups` of channels less its mean over its deviation, both of one image, times the
    channel's weight, plus its bias. As many groups as channels are instance normalization.
    """

    names = ("groupnorm",)

    groups: int = integer()
    epsilon: float = number(1e-5)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        return {"biases": (self.input.channels,), "weights": (self.input.channels,)}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if self.input.channels % self.groups:
            message = f"groups={self.groups} does not divide the {self.input.channels} channels: expected a divisor"
            raise OptionError(message, key="groups")
        if not 1e-9 <= self.epsilon <= 1e6:  # less turns the rounding of equal values into answers
            raise OptionError(f"epsilon={self.epsilon:g}: expected 1e-9 to 1e6", key="epsilon")
        return self.input
