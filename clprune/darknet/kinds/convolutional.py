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
    Place,
    WeightedLayer,
    boolean,
    integer,
)
from clprune.darknet.kinds.windowed import WindowedLayer, read_window, window_counts
from clprune.darknet.section import Section
from clprune.geometry import ConvProblem, Shape, Window

#: Switches of forks that must be off.
OFF = """
flipped sway rotate stretch stretch_sway deform assisted_excitation reverse coordconv
"""


@dataclass(frozen=True, kw_only=True)
class Convolutional(WindowedLayer, MatrixLayer):
    """2-D convolution, then batch normalization or biases, then `activation`.

    The border is zeros: `padding` pixels on each side, or half the size with `pad`, times `dilation` (AlexeyAB).

    `binary` and `xnor`: each weight is its sign (that of 0 is negative) times the mean magnitude of its filter; with
    `xnor` inputs are their signs too. The border is zero, as in pjreddie's code and in all training; of one-bit inputs
    (`has_bit_border`) it is -1. `shares` is the layer whose values it computes with (`share_index`). Of `numload`
    filters, where not 0, values are in a weights file (pjreddie).
    """

    names = ("convolutional", "conv")
    keys = Keys(
        read=f"pad share_index {PRUNE_WINOGRAD_KEY}",
        silent="dot cbn angle grad_centr bin_output stream wait_stream",
        neutral=dict.fromkeys(OFF.split(), 0),
    )
    channels_key = "filters"

    filters: int = integer()
    groups: int = integer()
    binary: bool = boolean()
    xnor: bool = boolean()
    numload: int = integer(0, minimum=0)
    shares: int | None = None
    #: Whether it is `xnor` in a fork whose inference multiplies bits, AlexeyAB's and hank-ai's, which take a border for
    #: -1 (forward_convolutional_layer of AlexeyAB's convolutional_layer.c, for equal strides; dilated ones it counts
    #: wrongly).
    has_bit_border: bool = False

    @classmethod
    def from_section(cls, place: Place) -> Convolutional:
        layer = super().from_section(place)
        assert isinstance(layer, cls)
        window, is_told = layer.window, place.section.dialect != "pjreddie"
        is_even = window.stride_y == window.stride_x and window.dilation_y == window.dilation_x == 1
        layer = replace(layer, has_bit_border=layer.xnor and is_told and is_even and any(window.padding))
        if "share_index" not in place.section.options:
            return layer
        try:
            number = place.earlier(place.section.integer("share_index"), key="share_index")
            shared = place.before[number]
            if shared.arrays != layer.arrays or not isinstance(shared, cls):
                raise OptionError(f"shares the weights of {shared}: expected one of the same form", key="share_index")
        except OptionError as error:
            raise place.section.error(str(error), key=error.key) from error
        return replace(layer, shares=shared.values_index)

    @classmethod
    def read_window(cls, section: Section) -> Window:
        padding, halves = section.integer("padding", 0, minimum=0), section.boolean("pad")

        def border(size: int, dilation: int) -> tuple[int, int]:
            count = (size // 2 if halves else padding) * dilation
            return count, count

        return read_window(section, size=1, border=border)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        for name, count in (("input channels", self.input.channels), ("filters", self.filters)):
            if count % self.groups:
                raise OptionError(f"groups={self.groups} does not divide the {count} {name}", key="groups")
        if self.xnor and self.groups > 1:
            raise OptionError("xnor=1: the forks of darknet differ about groups: expected none", key="groups")
        if self.numload > self.filters:
            raise OptionError(f"numload={self.numload}: expected at most {self.filters} filters", key="numload")
        return self.window_output(self.filters)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        weights = (self.filters, self.input.channels // self.groups, self.window.size_y, self.window.size_x)
        return {"biases": (self.filters,), **self._statistics, "weights": weights}

    @property
    def stored(self) -> dict[str, tuple[int, ...]]:
        stored = super().stored
        return {name: (self.numload, *shape[1:]) for name, shape in stored.items()} if self.numload else stored

    @property
    def values_index(self) -> int:
        return self.index if self.shares is None else self.shares

    @property
    def is_binary(self) -> bool:
        """Whether only the signs of its weights count."""
        return self.binary or self.xnor

    @property
    def has_own_matrix(self) -> bool:
        return super().has_own_matrix and not self.is_binary

    @property
    def group_rows(self) -> int:
        return self.filters // self.groups

    @property
    def carries_channels(self) -> bool:
        return 1 < self.groups == self.filters == self.input.channels

    @property
    def has_winograd_domain(self) -> bool:
        is_plain = self.window == Window.square(3, padding=self.window.top)
        return is_plain and self.groups == 1 and not self.antialiasing

    def with_channels(self, channels: int) -> Convolutional:
        groups = channels if self.carries_channels else self.groups
        return replace(self, filters=channels, groups=groups, output=replace(self.output, channels=channels))

    def problem(self, batch: int) -> ConvProblem:
        return ConvProblem.of(
            self.input, batch=batch, out_channels=self.filters, window=self.own_window, groups=self.groups
        )


@dataclass(frozen=True, kw_only=True)
class Local(WeightedLayer):
    """Convolution whose filters differ at every place. `pad` on means a border of size / 2 on each side.

    Its weights are `[locations, filters, channels, size, size]`, its biases one per output value.
    """

    names = ("local",)
    keys = Keys(read="size stride pad")

    filters: int = integer()
    window: Window

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        size, stride = section.integer("size", 1, minimum=1), section.integer("stride", 1, minimum=1)
        window = Window.square(size, stride=stride)
        if section.boolean("pad"):
            # as many places as a window of one pixel would have
            before, after = size // 2, (size - 1) // 2
            window = replace(window, top=before, left=before, bottom=after, right=after)
        return {**super().read_options(section), "window": window}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        height, width = window_counts(self.input, self.window)
        return Shape(channels=self.filters, height=height, width=width)

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        locations = self.output.height * self.output.width
        weights = (locations, self.filters, self.input.channels, self.window.size_y, self.window.size_x)
        return {"biases": (self.output.elements,), "weights": weights}

    @property
    def columns(self) -> int:
        return math.prod(self.weights_shape[2:])

    def problem(self, batch: int) -> ConvProblem:
        """The work of this layer on `batch` images: that of a convolution."""
        return ConvProblem.of(self.input, batch=batch, out_channels=self.filters, window=self.window)
