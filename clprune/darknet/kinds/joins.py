"""Layers that join the outputs of several others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clprune.darknet.kinds.base import Keys, Layer, OptionError, Place, activation_name, boolean, flat, integer, number
from clprune.darknet.section import Section
from clprune.geometry import Shape


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """The channels of all `sources`, one after another; of each only part `group_id` of `groups` equal ones."""

    names = ("route",)
    keys = Keys(read="layers", silent="stream wait_stream")

    groups: int = integer()
    group_id: int = integer(0, minimum=0)

    @classmethod
    def read_sources(cls, place: Place) -> tuple[int, ...]:
        return tuple(place.earlier(number, key="layers") for number in place.section.integers("layers"))

    @property
    def concatenates_channels(self) -> bool:
        return self.groups == 1

    @property
    def is_identity(self) -> bool:
        return len(self.sources) == 1 and self.groups == 1

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        first = shapes[0]
        if self.group_id >= self.groups:
            raise OptionError(f"group_id={self.group_id}: expected less than groups={self.groups}", key="group_id")
        for index, shape in zip(self.sources, shapes, strict=True):
            if (shape.height, shape.width) != (first.height, first.width):
                message = f"joins layer {self.sources[0]} ({first}) and layer {index} ({shape})"
                raise OptionError(f"{message}: expected equal height and width", key="layers")
            if shape.channels % self.groups:
                raise OptionError(f"groups={self.groups} does not divide layer {index} ({shape})", key="groups")
        return replace(first, channels=sum(shape.channels // self.groups for shape in shapes))


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """`activation(alpha * previous + beta * other)`; `sources` are previous, which gives the shape, and others.

    Where the shapes differ, only what both have is combined: channels up to the smaller count, and the larger plane
    is visited with a stride of the ratio of the widths. Values of `previous` outside that are kept unscaled.
    With `weights_type` all summands, previous first, have stored weights in place of alpha and beta: one each
    (`per_feature`) or one per channel (`per_channel`), which `weights_normalization` makes add up to about 1.
    """

    names = ("shortcut",)
    keys = Keys(read="from weights_type weights_normalization")

    activation: str = activation_name("linear")
    alpha: float = number(1.0)
    beta: float = number(1.0)
    weights_type: str = "none"
    weights_normalization: str = "none"
    dontload: bool = boolean()

    @classmethod
    def read_sources(cls, place: Place) -> tuple[int, ...]:
        others = place.section.integers("from")
        return (place.index - 1, *(place.earlier(number, key="from") for number in others))

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        kinds = {"none": "none", "per_feature": "per_feature", "per_layer": "per_feature", "per_channel": "per_channel"}
        ways = {"none": "none", "relu": "relu", "avg_relu": "relu", "softmax": "softmax"}
        words = {"weights_type": section.word("weights_type", kinds)}
        words["weights_normalization"] = section.word("weights_normalization", ways)
        options = super().read_options(section)
        scales = {} if section.dialect == "pjreddie" else {"alpha": 1.0, "beta": 1.0}  # other forks ignore them
        return {**options, **scales, **words}

    @property
    def carries_channels(self) -> bool:
        return self.weights_type == "none"

    @property
    def is_plain(self) -> bool:
        """Whether it is a sum of two without stored weights."""
        return len(self.sources) == 2 and self.weights_type == "none"

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        count = len(self.sources)
        shapes = {"none": (), "per_feature": (count,), "per_channel": (count, self.output.channels)}
        return {"weights": shapes[self.weights_type]} if self.weights_type != "none" else {}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        shape, *others = shapes
        if not self.is_plain and (self.alpha, self.beta) != (1, 1):
            key = "alpha" if self.alpha != 1 else "beta"
            raise OptionError(f"{key} with several from= or weights_type=: expected 1", key=key)
        for source, added in zip(self.sources[1:], others, strict=True):
            # darknet's shortcut_cpu asserts both ratios; the smaller plane must fit the larger one a whole number of
            # times.
            ratios = (added.width // shape.width, shape.width // added.width)
            if ratios != (added.height // shape.height, shape.height // added.height):
                message = f"adds layer {source} ({added}) to {shape}"
                raise OptionError(f"{message}: expected the same ratio of heights and widths", key="from")
        return shape


@dataclass(frozen=True, kw_only=True)
class Product(Layer):
    """`activation(previous * other)`, as large as the other: `sources` are (previous, other)."""

    keys = Keys(read="from")

    activation: str = activation_name("linear")

    @classmethod
    def read_sources(cls, place: Place) -> tuple[int, ...]:
        return (place.index - 1, place.earlier(place.section.integer("from"), key="from"))

    @property
    def carries_channels(self) -> bool:
        return True

    def factor_shape(self, other: Shape) -> Shape:
        """The shape that previous must have."""
        return other

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        previous, other = shapes
        if previous != self.factor_shape(other):
            message = f"multiplies layer {self.sources[1]} ({other}) by {previous}"
            raise OptionError(f"{message}: expected {self.factor_shape(other)}", key="from")
        return other


@dataclass(frozen=True, kw_only=True)
class Sam(Product):
    """The product value by value (spatial attention)."""

    names = ("sam",)


@dataclass(frozen=True, kw_only=True)
class ScaleChannels(Product):
    """A factor for each channel of the other; with `scale_wh`, for each place."""

    names = ("scale_channels",)

    scale_wh: bool = boolean()

    @property
    def carries_channels(self) -> bool:
        return not self.scale_wh

    def factor_shape(self, other: Shape) -> Shape:
        return replace(other, channels=1) if self.scale_wh else flat(other.channels)
