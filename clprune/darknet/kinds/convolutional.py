"""Convolutions: with one set of filters for all places, and with filters of its own at every place (`[local]`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clprune.darknet.kinds.base import (
    PRUNE_WINOGRAD_KEY,
    Keys,
    MatrixLayer,
    OptionError,
    WeightedLayer,
    boolean,
    integer,
    windows,
)
from clprune.darknet.section import Section
from clprune.geometry import ConvProblem, Shape

#: Switches of forks that must be off.
OFF = """
binary xnor flipped antialiasing sway rotate stretch stretch_sway deform assisted_excitation reverse coordconv
"""


@dataclass(frozen=True, kw_only=True)
class Convolutional(MatrixLayer):
    """2-D convolution, then batch normalization or biases, then `activation`.

    `padding` is the zero border on each side in pixels; `pad` in the cfg stands for half the size.
    """

    names = ("convolutional", "conv")
    keys = Keys(
        read=f"pad {PRUNE_WINOGRAD_KEY}",
        silent="dot cbn angle grad_centr bin_output stream wait_stream",
        neutral={"dilation": 1, **dict.fromkeys(OFF.split(), 0)},
        refused="stride_x stride_y share_index",
    )
    channels_key = "filters"

    filters: int = integer()
    size: int = integer()
    stride: int = integer()
    padding: int = integer(0, minimum=0)
    groups: int = integer()

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        options = super().read_options(section)
        return {**options, "padding": options["size"] // 2} if section.boolean("pad") else options

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        for name, count in (("input channels", self.input.channels), ("filters", self.filters)):
            if count % self.groups:
                raise OptionError(f"groups={self.groups} does not divide the {count} {name}", key="groups")
        height, width = (
            windows(side, size=self.size, stride=self.stride, border=2 * self.padding)
            for side in (self.input.height, self.input.width)
        )
        return Shape(channels=self.filters, height=height, width=width)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        weights = (self.filters, self.input.channels // self.groups, self.size, self.size)
        return {"biases": (self.filters,), **self._statistics, "weights": weights}

    @property
    def group_rows(self) -> int:
        return self.filters // self.groups

    @property
    def has_winograd_domain(self) -> bool:
        return (self.size, self.stride, self.groups) == (3, 1, 1)

    def with_channels(self, channels: int) -> Convolutional:
        return replace(self, filters=channels, output=replace(self.output, channels=channels))

    def problem(self, batch: int) -> ConvProblem:
        return ConvProblem(
            batch=batch,
            in_channels=self.input.channels,
            in_height=self.input.height,
            in_width=self.input.width,
            out_channels=self.filters,
            size=self.size,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )


@dataclass(frozen=True, kw_only=True)
class Local(WeightedLayer):
    """Convolution whose filters differ at every place. `pad` on means a border of size / 2 on each side.

    Its weights are `[locations, filters, channels, size, size]`, its biases one per output value.
    """

    names = ("local",)

    filters: int = integer()
    size: int = integer()
    stride: int = integer()
    pad: bool = boolean()

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        # Darknet's local layer with pad has as many places as a window of one pixel would.
        size = 1 if self.pad else self.size
        height, width = (
            windows(side, size=size, stride=self.stride, border=0) for side in (self.input.height, self.input.width)
        )
        return Shape(channels=self.filters, height=height, width=width)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        locations = self.output.height * self.output.width
        weights = (locations, self.filters, self.input.channels, self.size, self.size)
        return {"biases": (self.output.elements,), "weights": weights}

    @property
    def columns(self) -> int:
        return math.prod(self.weights_shape[2:])
