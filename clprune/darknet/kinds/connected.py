"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clprune.darknet.kinds.base import MatrixLayer, flat, integer
from clprune.geometry import ConnectedProblem, Shape


@dataclass(frozen=True, kw_only=True)
class Connected(MatrixLayer):
    """Fully connected layer on the flattened input, then batch normalization or biases, then `activation`."""

    names = ("connected", "conn")
    takes_vector = True
    channels_key = "output"

    outputs: int = integer(key="output")

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return flat(self.outputs)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        return {"biases": (self.outputs,), "weights": (self.outputs, self.input.elements), **self._statistics}

    def with_channels(self, channels: int) -> Connected:
        return replace(self, outputs=channels, output=flat(channels))

    def problem(self, batch: int) -> ConnectedProblem:
        return ConnectedProblem(batch=batch, inputs=self.input.elements, outputs=self.outputs)
