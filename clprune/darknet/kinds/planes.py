"""Layers that put values of planes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clprune.darknet.kinds.base import Keys, Layer, OptionError, boolean, flat, integer, number
from clprune.darknet.reorder import Reorder
from clprune.geometry import Shape


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
