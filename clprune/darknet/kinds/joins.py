"""Layers that join the outputs of several others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clprune.darknet.kinds.base import Keys, Layer, OptionError, Place, activation_name, number
from clprune.geometry import Shape


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """The channels of all `sources`, one after another."""

    names = ("route",)
    keys = Keys(read="layers", silent="stream wait_stream", neutral={"groups": 1, "group_id": 0})

    @classmethod
    def read_sources(cls, place: Place) -> tuple[int, ...]:
        return tuple(place.earlier(number, key="layers") for number in place.section.integers("layers"))

    concatenates_channels = True

    @property
    def is_identity(self) -> bool:
        return len(self.sources) == 1

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        first = shapes[0]
        for index, shape in zip(self.sources, shapes, strict=True):
            if (shape.height, shape.width) != (first.height, first.width):
                message = f"joins layer {self.sources[0]} ({first}) and layer {index} ({shape})"
                raise OptionError(f"{message}: expected equal height and width", key="layers")
        return replace(first, channels=sum(shape.channels for shape in shapes))


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """`activation(alpha * previous + beta * other)`; `sources` are (previous, other), the output has previous' shape.

    Where the shapes differ, only what both have is combined: channels up to the smaller count, and the larger plane
    is visited with a stride of the ratio of the widths. Values of `previous` outside that are kept unscaled.
    """

    names = ("shortcut",)
    keys = Keys(read="from", refused="weights_type weights_normalization")

    carries_channels = True

    activation: str = activation_name("linear")
    alpha: float = number(1.0)
    beta: float = number(1.0)

    @classmethod
    def read_sources(cls, place: Place) -> tuple[int, ...]:
        return (place.index - 1, place.earlier(place.section.integer("from"), key="from"))

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        shape, added = shapes
        # darknet's shortcut_cpu asserts both ratios; the smaller plane must fit the larger one a whole number of times.
        ratios = (added.width // shape.width, shape.width // added.width)
        if ratios != (added.height // shape.height, shape.height // added.height):
            message = f"adds layer {self.sources[1]} ({added}) to {shape}"
            raise OptionError(f"{message}: expected the same ratio of heights and widths", key="from")
        return shape
