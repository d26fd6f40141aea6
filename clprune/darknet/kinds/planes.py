"""Layers that put values of planes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clprune.darknet.kinds.base import Keys, Layer, OptionError, boolean, flat, integer, number, word
from clprune.darknet.reorder import BORDERS, Reorder
from clprune.darknet.resample import COORDINATES, ROUNDING, TAPS, Resampling
from clprune.geometry import Shape

#: Rows or columns of a border, and of what is cut off.
MOST_BORDER = 4096


@dataclass(frozen=True, kw_only=True)
class Crop(Layer):
    """Centre crop, from row (height - crop_height) // 2 on; values become 2x - 1 unless `noadjust`."""

    names = ("crop",)
    keys = Keys(silent="flip angle saturation exposure shift")
    carries_channels = True

    crop_height: int = integer()
    crop_width: int = integer()
    noadjust: bool = boolean()

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        output = replace(self.input, height=self.crop_height, width=self.crop_width)
        for key, found, limit in (
            ("crop_height", output.height, self.input.height),
            ("crop_width", output.width, self.input.width),
        ):
            if found > limit:
                message = f"{key}={found} is larger than the input {self.input}: expected at most {limit}"
                raise OptionError(message, key=key)
        return output


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """Nearest neighbour: every value becomes `stride` x `stride` values, multiplied by `scale`."""

    names = ("upsample",)
    carries_channels = True

    stride: int = integer(2)
    scale: float = number(1.0)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return replace(self.input, height=self.input.height * self.stride, width=self.input.width * self.stride)


@dataclass(frozen=True, kw_only=True)
class Resize(Layer):
    """clprune's own: planes of `height` x `width`, resampled as the operator Resize of ONNX does it.

    Places follow from `coordinates` and the magnifications `scale_y` and `scale_x`, by default those of the sides;
    `rounding` says which neighbour is the nearest, `cubic` is the coefficient of cubic convolution.
    """

    names = ("resize",)
    carries_channels = True

    height: int = integer()
    width: int = integer()
    mode: str = word(TAPS, "linear")
    coordinates: str = word(COORDINATES, "half_pixel")
    rounding: str = word(ROUNDING, "round_prefer_floor")
    scale_y: float = number(0.0)
    scale_x: float = number(0.0)
    cubic: float = number(-0.75)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        for key, given in (("scale_y", self.scale_y), ("scale_x", self.scale_x)):
            if given and not 1e-6 <= given <= 1e6:
                raise OptionError(f"{key}={given:g}: expected 1e-6 to 1e6", key=key)
        return replace(self.input, height=self.height, width=self.width)

    @property
    def rows(self) -> Resampling:
        """What becomes of each column: its rows."""
        return self._resampling(self.input.height, self.height, self.scale_y)

    @property
    def columns(self) -> Resampling:
        """What becomes of each row: its columns."""
        return self._resampling(self.input.width, self.width, self.scale_x)

    def _resampling(self, old: int, new: int, scale: float) -> Resampling:
        return Resampling(
            old=old, new=new, mode=self.mode, coordinates=self.coordinates, scale=scale or new / old,
            rounding=self.rounding, cubic=self.cubic,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pad(Layer):
    """clprune's own: planes with a border of `mode` around them; so many rows or columns less where it is negative.

    A border of zeros may have any width, others are taken from the planes, as the operator Pad of ONNX does it.
    """

    names = ("pad",)
    carries_channels = True

    top: int = integer(0, minimum=-MOST_BORDER)
    left: int = integer(0, minimum=-MOST_BORDER)
    bottom: int = integer(0, minimum=-MOST_BORDER)
    right: int = integer(0, minimum=-MOST_BORDER)
    mode: str = word(BORDERS, "zeros")

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        sides = []
        for length, (before, after) in zip(
            (self.input.height, self.input.width), (("top", "bottom"), ("left", "right")), strict=True
        ):
            borders = {key: getattr(self, key) for key in (before, after)}
            kept = length + sum(min(border, 0) for border in borders.values())
            limit = {"zeros": MOST_BORDER, "edge": MOST_BORDER, "reflect": kept - 1, "wrap": kept}[self.mode]
            for key, border in borders.items():
                if kept < 1 or border > limit:
                    message = f"{key}={border} of {self.input}: expected something to stay, and at most {limit}"
                    raise OptionError(message, key=key)
            sides.append(length + sum(borders.values()))
        return replace(self.input, height=sides[0], width=sides[1])

    @property
    def order(self) -> Reorder:
        """Where each value comes from."""
        return Reorder(kind=self.mode, shape=self.input, border=(self.top, self.left, self.bottom, self.right))


@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """Darknet's space to depth (`reverse`: depth to space) in its own order: `reorg_cpu` called with the input's sizes.

    pjreddie's has two other modes: `flatten` to HWC order, and `extra` zeros behind the flattened input.
    """

    names = ("reorg",)

    stride: int = integer()
    reverse: bool = boolean()
    flatten: bool = boolean()
    extra: int = integer(0, minimum=0)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        stride, shape = self.stride, self.input
        if self.extra:
            return flat(shape.elements + self.extra)
        # reorg_cpu splits the channels by stride * stride in both directions and reads outside its input if it cannot.
        if shape.channels % stride**2:
            message = f"stride={stride}: expected input channels divisible by {stride**2}, found {shape}"
            raise OptionError(message, key="stride")
        if self.reverse:
            return Shape(channels=shape.channels // stride**2, height=shape.height * stride, width=shape.width * stride)
        if shape.height % stride or shape.width % stride:
            raise OptionError(f"stride={stride} does not divide the input {shape}", key="stride")
        return Shape(channels=shape.channels * stride**2, height=shape.height // stride, width=shape.width // stride)

    @property
    def order(self) -> Reorder:
        """Where each value comes from."""
        if self.flatten or self.extra:
            kind = "flatten" if self.flatten else "pad"
            return Reorder(kind=kind, shape=self.input, reverse=self.reverse and self.flatten, extra=self.extra)
        return Reorder(kind="reorg", shape=self.input, stride=self.stride, reverse=self.reverse)


@dataclass(frozen=True, kw_only=True)
class Reorg3d(Reorg):
    """Space to depth: `reorg_cpu` called with the output's sizes."""

    names = ("reorg3d",)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        output = super().output_shape(shapes)
        if output.channels % self.stride**2:
            message = f"stride={self.stride}: expected output channels divisible by {self.stride**2}, found {output}"
            raise OptionError(message, key="stride")
        return output

    @property
    def order(self) -> Reorder:
        return Reorder(kind="reorg", shape=self.output, stride=self.stride, reverse=self.reverse)
