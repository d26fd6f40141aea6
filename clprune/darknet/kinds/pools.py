"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clprune.darknet.kinds.base import Keys, Layer, OptionError, boolean, flat
from clprune.darknet.kinds.windowed import WindowedLayer, read_window
from clprune.darknet.section import Section
from clprune.geometry import PoolProblem, Shape, Window

#: Places of a window that may be more than four times those of the image: kernels go through all of them.
_MOST_PLACES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class WindowPool(WindowedLayer):
    """`padding` is the *total* border, by default what keeps the size: windows begin at i*stride - padding // 2."""

    @property
    def carries_channels(self) -> bool:
        return True

    @classmethod
    def read_window(cls, section: Section) -> Window:
        padding = section.integer("padding", minimum=0) if "padding" in section.options else None

        def border(size: int, dilation: int) -> tuple[int, int]:
            total = (size - 1) * dilation if padding is None else padding
            return total // 2, total - total // 2

        return read_window(section, size=section.integer("stride", 1, minimum=1), border=border)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        output, window = self.window_output(self.input.channels), self.own_window
        rows = range(-window.top, self.input.height + window.bottom - window.extent_y + 1, window.stride_y)
        columns = range(-window.left, self.input.width + window.right - window.extent_x + 1, window.stride_x)
        sides = ((rows, window.extent_y, window.dilation_y, self.input.height),
                 (columns, window.extent_x, window.dilation_x, self.input.width))  # fmt: skip
        if window.size_y * window.size_x > max(_MOST_PLACES, 4 * self.input.height * self.input.width):
            message = f"a window of size {window.size_y}x{window.size_x} for {self.input}: expected a smaller one"
            raise OptionError(message, key="size")
        for starts, extent, step, length in sides:
            if _has_window_outside(starts, extent=extent, step=step, length=length):
                message = f"padding puts a window of size {window.size_y}x{window.size_x} wholly outside {self.input}"
                raise OptionError(f"{message}: expected less padding", key="padding")
        return output

    def problem(self, batch: int) -> PoolProblem:
        """The work of this layer on `batch` images, without a blur."""
        return PoolProblem(
            batch=batch,
            channels=self.input.channels,
            in_height=self.input.height,
            in_width=self.input.width,
            window=self.own_window,
            **self._options,
        )

    @property
    def _options(self) -> dict[str, Any]:
        """Other fields of the problem."""
        return {}


def _has_window_outside(starts: range, *, extent: int, step: int, length: int) -> bool:
    """Whether of one of the windows, of places `step` apart, none lies in 0..length - 1."""
    if starts[-1] >= length:
        return True
    before = max(0, -(starts.start // starts.step))
    # Of windows whose places have the same remainder by `step` the earliest reaches least; and no more remainders than
    # places can be good. One that begins inside is no question.
    asked = starts[: min(before, step // math.gcd(starts.step, step), length + 1)]
    return len(asked) > _MOST_PLACES or any(max(start, start % step) >= min(length, start + extent) for start in asked)


@dataclass(frozen=True, kw_only=True)
class MaxPool(WindowPool):
    """Maximum of windows; places outside the image never win.

    With `maxpool_depth` instead the maximum of every `out_channels`-th channel, at each place by itself.
    """

    names = ("maxpool", "max")
    keys = Keys(read="maxpool_depth out_channels", neutral={"maxpool_zero_nonmax": 0})

    depth_channels: int = 0

    @property
    def carries_channels(self) -> bool:
        return not self.depth_channels

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        options = super().read_options(section)
        channels = section.integer("out_channels", 1, minimum=1)
        if not section.boolean("maxpool_depth"):
            return options
        return {**options, "window": Window.square(1), "antialiasing": 0, "depth_channels": channels}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        channels = self.depth_channels
        if channels > self.input.channels:
            message = f"out_channels={channels}: expected at most the {self.input.channels} channels of the input"
            raise OptionError(message, key="out_channels")
        return (
            Shape(channels=channels, height=self.input.height, width=self.input.width)
            if channels
            else (super().output_shape(shapes))
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {"depth_channels": self.depth_channels}


@dataclass(frozen=True, kw_only=True)
class LocalAvgPool(WindowPool):
    """Mean of windows, of what of them lies in the image; with clprune's own key `count_border` of all of them, zeros
    outside.
    """

    names = ("local_avgpool", "local_avg")

    count_border: bool = boolean()

    @property
    def _options(self) -> dict[str, Any]:
        return {"is_average": True, "counts_border": self.count_border}


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
