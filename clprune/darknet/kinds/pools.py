"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clprune.darknet.kinds.base import Keys, Layer, OptionError, flat, windows
from clprune.darknet.section import Section
from clprune.geometry import PoolProblem, Shape


@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """Maximum of `size` x `size` windows. `padding` is the *total* border: windows begin at i*stride - padding // 2.

    Places outside the image never win.
    """

    names = ("maxpool", "max")
    keys = Keys(
        read="size stride padding",
        neutral={"maxpool_depth": 0, "maxpool_zero_nonmax": 0, "antialiasing": 0, "out_channels": 1},
        refused="stride_x stride_y",
    )
    carries_channels = True

    size: int
    stride: int
    padding: int

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        stride = section.integer("stride", 1, minimum=1)
        size = section.integer("size", stride, minimum=1)
        return {"size": size, "stride": stride, "padding": section.integer("padding", size - 1, minimum=0)}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        before, lengths = self.padding // 2, (self.input.height, self.input.width)
        counts = [windows(side, size=self.size, stride=self.stride, border=self.padding) for side in lengths]
        for length, count in zip(lengths, counts, strict=True):
            if self.size <= before or (count - 1) * self.stride - before >= length:
                message = f"padding={self.padding} puts a window of size {self.size} wholly outside {self.input}"
                raise OptionError(f"{message}: expected less padding", key="padding")
        return Shape(channels=self.input.channels, height=counts[0], width=counts[1])

    def problem(self, batch: int) -> PoolProblem:
        """The work of this layer on `batch` images."""
        return PoolProblem(
            batch=batch,
            channels=self.input.channels,
            in_height=self.input.height,
            in_width=self.input.width,
            size=self.size,
            stride=self.stride,
            padding=self.padding,
        )


@dataclass(frozen=True, kw_only=True)
class AvgPool(Layer):
    """Mean of each channel: C x H x W to C x 1 x 1."""

    names = ("avgpool", "avg")
    carries_channels = True

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return flat(self.input.channels)

    def problem(self, batch: int) -> PoolProblem:
        """The work of this layer on `batch` images."""
        return PoolProblem.average(batch=batch, shape=self.input)
