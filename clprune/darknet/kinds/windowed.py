"""What layers of sliding windows share: the keys that say their windows, and the blur that may follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from clprune.darknet.kinds.base import Keys, Layer, OptionError, integer
from clprune.darknet.section import Section
from clprune.geometry import Shape, Window

_BORDER = ("top", "left", "bottom", "right")


def read_window(section: Section, *, size: int, border: Callable[[int, int], tuple[int, int]]) -> Window:
    """The window of a section: `size`, `stride` and `dilation` or, each side by itself, `size_y`, `size_x` and so on.

    `size` is the default, `border` tells from a side's size and dilation how many pixels of border lie before it and
    behind it, where `padding_top`, `padding_left`, `padding_bottom` and `padding_right` do not say otherwise.
    """
    sizes, strides, dilations = (_sides(section, *key) for key in (("size", size), ("stride", 1), ("dilation", 1)))
    # darknet's windows of one pixel have no dilation, which would multiply their border
    dilations = tuple(1 if size == 1 else dilation for size, dilation in zip(sizes, dilations, strict=True))
    around = [border(*side) for side in zip(sizes, dilations, strict=True)]
    pixels = [y_or_x[place] for place in (0, 1) for y_or_x in around]
    return Window(
        size_y=sizes[0],
        size_x=sizes[1],
        stride_y=strides[0],
        stride_x=strides[1],
        dilation_y=dilations[0],
        dilation_x=dilations[1],
        **{
            side: section.integer(f"padding_{side}", count, minimum=0)
            for side, count in zip(_BORDER, pixels, strict=True)
        },
    )


def _sides(section: Section, key: str, default: int) -> tuple[int, ...]:
    """The value of `key` for y and x."""
    value = section.integer(key, default, minimum=1)
    return tuple(section.integer(f"{key}_{side}", value, minimum=1) for side in "yx")


def window_counts(shape: Shape, window: Window) -> tuple[int, int]:
    """Rows and columns of windows. Raises OptionError where none fits."""
    counts = (window.rows(shape.height), window.columns(shape.width))
    sides = ((shape.height, window.extent_y, window.top + window.bottom),
             (shape.width, window.extent_x, window.left + window.right))  # fmt: skip
    for count, (length, extent, border) in zip(counts, sides, strict=True):
        if count < 1:
            found = f"{length} pixels and {border} of padding" if border else f"{length} pixels"
            message = f"size={extent} is larger than the input's side of {found}: no output is left"
            raise OptionError(message, key="size")
    return counts


@dataclass(frozen=True, kw_only=True)
class WindowedLayer(Layer):
    """A layer of sliding windows. With `antialiasing` (1: 3x3, 2: 2x2) they move by one pixel, and a blur, a fixed
    filter of each channel by itself, takes every stride-th position (AlexeyAB's make_convolutional_layer).
    """

    keys = Keys(
        read=" ".join(
            [
                "size stride dilation padding",
                *(f"{key}_{side}" for key in ("size", "stride", "dilation") for side in "yx"),
            ]
            + [f"padding_{side}" for side in _BORDER]
        )
    )

    window: Window
    antialiasing: int = integer(0, minimum=0)

    @property
    def own_window(self) -> Window:
        """The windows of the layer itself, before a blur."""
        return replace(self.window, stride_y=1, stride_x=1) if self.antialiasing else self.window

    @property
    def blur(self) -> Window | None:
        """The windows of the blur that follows, None where none does."""
        if not self.antialiasing:
            return None
        square = Window.square(2) if self.antialiasing == 2 else Window.square(3, padding=1)
        return replace(square, stride_y=self.window.stride_y, stride_x=self.window.stride_x)

    @property
    def blur_weights(self) -> tuple[float, ...]:
        """The values of the blur's filter, row by row."""
        side = (1, 1) if self.antialiasing == 2 else (1, 2, 1)
        return tuple(y * x / sum(side) ** 2 for y in side for x in side)

    @property
    def inner(self) -> Shape:
        """The shape of the layer's own output, before a blur."""
        height, width = window_counts(self.input, self.own_window)
        return replace(self.output, height=height, width=width)

    def window_output(self, channels: int) -> Shape:
        """The shape of the output. Raises OptionError."""
        height, width = window_counts(self.input, self.own_window)
        shape = Shape(channels=channels, height=height, width=width)
        if self.blur is None:
            return shape
        height, width = window_counts(shape, self.blur)
        return replace(shape, height=height, width=width)

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        return {**super().read_options(section), "window": cls.read_window(section)}

    @classmethod
    def read_window(cls, section: Section) -> Window:
        """The window that the section describes. Raises CfgError."""
        raise NotImplementedError
