"""A network in the making: parts that know what feeds them, joined where one layer does the work of two, as a cfg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.fold import BATCH_NORM_EPSILON
from clprune.darknet.kinds.base import Layer
from clprune.darknet.registry import find_kind
from clprune.darknet.section import Option, Section
from clprune.darknet.values import LayerWeights
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.geometry import Shape

FloatArray = npt.NDArray[np.float32]

#: Sections that end with an activation of their own.
_ACTIVATED = ("convolutional", "connected", "shortcut", "scale_channels", "sam")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A layer: its section's name and keys, the parts that feed it (-1: the network's input), its output and values."""

    section: str
    options: dict[str, Any]
    sources: tuple[int, ...]
    shape: Shape
    values: LayerWeights | None = None

    def activates(self, name: str) -> bool:
        """Whether it ends with the activation `name`."""
        return self.section in _ACTIVATED and self.options.get("activation") == name

    @property
    def is_affine(self) -> bool:
        """Whether it scales and shifts each channel by itself and does no more."""
        ones = {"filters": self.shape.channels, "groups": self.shape.channels, "size": 1, "activation": "linear"}
        return self.section == "convolutional" and self.options == ones


@dataclass(eq=False)
class Sketch:
    """The parts so far of a network that takes `input`."""

    input: Shape
    parts: list[Part] = field(default_factory=list)

    def shape(self, part: int) -> Shape:
        """What a part delivers; -1 is the network's input."""
        return self.input if part < 0 else self.parts[part].shape

    def add(self, section: str, *sources: int, values: LayerWeights | None = None, **options: Any) -> int:
        """Add a layer and return its number. Raises CfgError or UsageError where such a layer cannot be."""
        kind = find_kind(section)
        if kind is None:
            raise UnsupportedLayerError(f"needs a layer [{section}], which is not run yet")
        shapes = [self.shape(source) for source in sources]
        layer = kind(
            index=len(self.parts), line=0, sources=sources, input=shapes[0], output=shapes[0],
            **read_options(kind, options),
        )  # fmt: skip
        shape = layer.output_shape(shapes)
        for name, expected in replace(layer, output=shape).arrays.items():
            found = np.shape(getattr(values, name))
            if found != expected:
                raise UsageError(f"has {name} of shape {found}: expected {expected}")
        self.parts.append(Part(section=section, options=options, sources=sources, shape=shape, values=values))
        return len(self.parts) - 1

    def add_affine(self, source: int, *, factors: FloatArray, offsets: FloatArray) -> int:
        """Add `factors * x + offsets` of each channel, as a convolution of 1x1 in as many groups."""
        channels = self.shape(source).channels
        values = LayerWeights(weights=factors.reshape(-1, 1, 1, 1), biases=offsets)
        options = {"filters": channels, "groups": channels, "size": 1, "activation": "linear"}
        return self.add("convolutional", source, values=values, **options)

    def finished(self, outputs: Sequence[int]) -> list[Part]:
        """The parts that `outputs` need, each numbered by its place, joined where one layer does for two."""
        needed, uses = {*outputs}, dict.fromkeys(range(-1, len(self.parts)), 0)
        for index in range(max(outputs), -1, -1):
            if index in needed:
                needed.update(self.parts[index].sources)
                for source in self.parts[index].sources:
                    uses[source] += 1
        kept: list[Part] = []
        places = {-1: -1}
        for index in sorted(needed - {-1}):
            part = self.parts[index]
            sources = tuple(places[source] for source in part.sources)
            is_alone = len(sources) == 1 and sources[0] >= 0 and uses[part.sources[0]] == 1
            joined = _joined(kept[sources[0]], part) if is_alone else None
            if joined is None:
                kept.append(replace(part, sources=sources))
                places[index] = len(kept) - 1
            else:
                places[index] = sources[0]
                kept[sources[0]] = joined
        return kept


def read_options(kind: type[Layer], options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the keys of a section give. Raises CfgError."""
    text = {key: Option(str(value), 0) for key, value in options.items()}
    return kind.read_options(Section(path=Path("cfg"), name=kind.names[0], line=0, options=text))


def _joined(first: Part, second: Part) -> Part | None:
    """One part that computes `second` of `first`, None where there is none."""
    if first.section == "groupnorm" and second.is_affine and first.values is not None and second.values is not None:
        factors = second.values.weights.reshape(-1)
        biases = first.values.biases * factors + second.values.biases
        return replace(first, values=replace(first.values, weights=first.values.weights * factors, biases=biases))
    if not first.activates("linear"):
        return None
    if second.section == "activation":
        return replace(first, options={**first.options, **second.options})
    if first.section not in ("convolutional", "connected") or first.values is None or second.values is None:
        return None
    values, added = first.values, second.values
    if second.section == "batchnorm" and values.scales is None:
        mean = None if added.mean is None else added.mean - values.biases
        values = replace(added, weights=values.weights, mean=mean)
        return replace(first, options={"batch_normalize": 1, **first.options}, values=values)
    if second.is_affine:
        factors = added.weights.reshape(-1)
        biases = values.biases * factors + added.biases
        if values.scales is not None:
            return replace(first, values=replace(values, scales=values.scales * factors, biases=biases))
        weights = values.weights * factors.reshape(-1, *(1,) * (values.weights.ndim - 1))
        return replace(first, values=replace(values, weights=weights, biases=biases))
    return None


def normalization_values(
    scales: FloatArray, biases: FloatArray, mean: FloatArray, variance: FloatArray, *, epsilon: float
) -> LayerWeights:
    """Batch normalization with another epsilon than darknet's: the statistics stay, the scales make up for it."""
    exact = variance.astype(np.float64)
    if not np.isclose(epsilon, BATCH_NORM_EPSILON, rtol=1e-6, atol=0):
        scales = (scales * np.sqrt((exact + BATCH_NORM_EPSILON) / (exact + epsilon))).astype(np.float32)
    return LayerWeights(scales=scales, biases=biases, mean=mean, variance=variance)


def cfg_of(input_shape: Shape, parts: Sequence[Part], *, title: str) -> tuple[str, tuple[LayerWeights | None, ...]]:
    """The text of a cfg and the values of its layers."""
    writer = _Writer()
    if any(-1 in part.sources for part in parts[1:]):  # no section can name the network's input
        writer.places[-1] = writer.write("activation", {"activation": "linear"}, None)
    for index, part in enumerate(parts):
        writer.places[index] = writer.write_part(part)
    if input_shape.height == input_shape.width == 1 and parts[0].section == "connected":
        net = f"inputs={input_shape.channels}\n"
    else:
        net = f"width={input_shape.width}\nheight={input_shape.height}\nchannels={input_shape.channels}\n"
    return f"# {title}\n[net]\nbatch=1\n{net}{''.join(writer.sections)}", tuple(writer.values)


@dataclass(eq=False)
class _Writer:
    """Sections and their values so far; `places` says which layer of the cfg a part has become."""

    sections: list[str] = field(default_factory=list)
    values: list[LayerWeights | None] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=lambda: {-1: -1})

    def write(self, section: str, options: dict[str, Any], values: LayerWeights | None) -> int:
        lines = "".join(f"{key}={value}\n" for key, value in options.items())
        self.sections.append(f"\n[{section}]\n{lines}")
        self.values.append(values)
        return len(self.values) - 1

    def write_part(self, part: Part) -> int:
        sources = [self.places[source] for source in part.sources]
        if part.section == "route":
            return self.write("route", {"layers": self._relative(*sources), **part.options}, None)
        if part.section == "shortcut" and sources[1] == len(self.values) - 1:
            sources.reverse()  # a sum is the same either way
        if sources[0] != len(self.values) - 1:
            self.write("route", {"layers": self._relative(sources[0])}, None)
        others = {"from": self._relative(*sources[1:])} if len(sources) > 1 else {}
        return self.write(part.section, {**others, **part.options}, part.values)

    def _relative(self, *layers: int) -> str:
        return ",".join(str(layer - len(self.values)) for layer in layers)
