"""From one section of a cfg to one layer: options read, shapes worked out, impossible ones refused.

The rules are those of darknet's parser.c and its `make_*_layer` functions; each builder here is named after the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from clprune.darknet import layers as kinds
from clprune.darknet.activations import ACTIVATIONS
from clprune.darknet.cfg import Section
from clprune.darknet.keys import KINDS, PRUNE_KEYS, PRUNE_WINOGRAD_KEY, UNSUPPORTED
from clprune.darknet.layers import Layer, PruneOptions
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.geometry import Shape
from clprune.unit import Unit


class _Common(TypedDict):
    """The fields that every layer has."""

    index: int
    line: int
    kind: str
    sources: tuple[int, ...]
    input: Shape
    output: Shape


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a section stands: its layer's index, the layers before it, the shape that the previous one delivers."""

    section: Section
    index: int
    before: Sequence[Layer]
    input: Shape

    def common(self, output: Shape, *, sources: tuple[int, ...] | None = None, first: Shape | None = None) -> _Common:
        """The fields of every layer; `sources` and `first` (the shape of the first) default to the previous layer."""
        return {
            "index": self.index,
            "line": self.section.line,
            "kind": self.section.name,
            "sources": (self.index - 1,) if sources is None else sources,
            "input": self.input if first is None else first,
            "output": output,
        }

    def activation(self, default: str) -> str:
        """The `activation` key, one of darknet's names."""
        name = self.section.text("activation", default)
        if name not in ACTIVATIONS:
            expected = ", ".join(ACTIVATIONS)
            raise self.section.error(f"unknown activation {name[:60]!r}: expected one of {expected}", key="activation")
        return name

    def earlier(self, number: int, *, key: str) -> int:
        """The index that `number` in `key` names: negative is relative to this layer. It must be an earlier layer."""
        index = self.index + number if number < 0 else number
        if not 0 <= index < self.index:
            allowed = f"0 to {self.index - 1} or -1 to {-self.index}" if self.index else "none: this is the first layer"
            message = f"{key} names layer {number}, which does not come before layer {self.index}: expected {allowed}"
            raise self.section.error(message, key=key)
        return index

    def output_of(self, index: int) -> Shape:
        return self.before[index].output


def make_layer(place: Place) -> Layer:
    """Build the layer of one section. Raises CfgError, and UnsupportedLayerError for kinds that have no kernels."""
    section = place.section
    if section.name in UNSUPPORTED:
        raise UnsupportedLayerError(
            f"{section.path}:{section.line}: [{section.name}] is not supported: expected one of {', '.join(KINDS)}"
        )
    return _BUILDERS[section.name](place)


def _convolutional(place: Place) -> Layer:
    section, shape = place.section, place.input
    filters = section.integer("filters", 1, minimum=1)
    size = section.integer("size", 1, minimum=1)
    stride = section.integer("stride", 1, minimum=1)
    groups = section.integer("groups", 1, minimum=1)
    padding = section.integer("padding", 0, minimum=0)
    if section.boolean("pad"):
        padding = size // 2
    for name, count in (("input channels", shape.channels), ("filters", filters)):
        if count % groups:
            raise section.error(f"groups={groups} does not divide the {count} {name}", key="groups")
    sides = (shape.height, shape.width)
    height, width = (_windows(section, side, size=size, stride=stride, border=2 * padding) for side in sides)
    return kinds.Convolutional(
        **place.common(Shape(channels=filters, height=height, width=width)),
        filters=filters,
        size=size,
        stride=stride,
        padding=padding,
        groups=groups,
        activation=place.activation("logistic"),
        batch_normalize=section.boolean("batch_normalize"),
        dontload=section.boolean("dontload"),
        prune=_prune_options(section),
    )


def _connected(place: Place) -> Layer:
    section = place.section
    outputs = section.integer("output", 1, minimum=1)
    return kinds.Connected(
        **place.common(_flat(outputs)),
        outputs=outputs,
        activation=place.activation("logistic"),
        batch_normalize=section.boolean("batch_normalize"),
        dontload=section.boolean("dontload"),
        prune=_prune_options(section),
    )


def _local(place: Place) -> Layer:
    section, shape = place.section, place.input
    filters = section.integer("filters", 1, minimum=1)
    size = section.integer("size", 1, minimum=1)
    stride = section.integer("stride", 1, minimum=1)
    pad = section.boolean("pad")
    # Darknet's local layer with pad has as many places as a window of one pixel would.
    window = 1 if pad else size
    sides = (shape.height, shape.width)
    height, width = (_windows(section, side, size=window, stride=stride, border=0) for side in sides)
    return kinds.Local(
        **place.common(Shape(channels=filters, height=height, width=width)),
        filters=filters,
        size=size,
        stride=stride,
        pad=pad,
        activation=place.activation("logistic"),
        dontload=section.boolean("dontload"),
    )


def _maxpool(place: Place) -> Layer:
    section, shape = place.section, place.input
    stride = section.integer("stride", 1, minimum=1)
    size = section.integer("size", stride, minimum=1)
    padding = section.integer("padding", size - 1, minimum=0)
    sides = (shape.height, shape.width)
    height, width = (_windows(section, side, size=size, stride=stride, border=padding) for side in sides)
    for length, count in ((shape.height, height), (shape.width, width)):
        last = (count - 1) * stride - padding // 2
        if size <= padding // 2 or last >= length:
            message = f"padding={padding} puts a window of size {size} wholly outside {shape}: expected less padding"
            raise section.error(message, key="padding")
    output = Shape(channels=shape.channels, height=height, width=width)
    return kinds.MaxPool(**place.common(output), size=size, stride=stride, padding=padding)


def _avgpool(place: Place) -> Layer:
    return kinds.AvgPool(**place.common(_flat(place.input.channels)))


def _dropout(place: Place) -> Layer:
    probability = place.section.number("probability", 0.5)
    if not 0 <= probability <= 1:
        raise place.section.error(f"probability={probability:g}: expected 0 to 1", key="probability")
    return kinds.Dropout(**place.common(place.input), probability=probability)


def _softmax(place: Place) -> Layer:
    section = place.section
    groups = section.integer("groups", 1, minimum=1)
    if place.input.elements % groups:
        raise section.error(f"groups={groups} does not divide the {place.input.elements} inputs", key="groups")
    temperature = section.number("temperature", 1.0)
    if temperature <= 0:
        raise section.error(f"temperature={temperature:g}: expected more than 0", key="temperature")
    return kinds.Softmax(**place.common(place.input), groups=groups, temperature=temperature)


def _cost(place: Place) -> Layer:
    return kinds.Cost(**place.common(place.input))


def _crop(place: Place) -> Layer:
    section, shape = place.section, place.input
    height = section.integer("crop_height", 1, minimum=1)
    width = section.integer("crop_width", 1, minimum=1)
    for key, found, limit in (("crop_height", height, shape.height), ("crop_width", width, shape.width)):
        if found > limit:
            raise section.error(f"{key}={found} is larger than the input {shape}: expected at most {limit}", key=key)
    output = Shape(channels=shape.channels, height=height, width=width)
    noadjust = section.boolean("noadjust")
    return kinds.Crop(**place.common(output), crop_height=height, crop_width=width, noadjust=noadjust)


def _route(place: Place) -> Layer:
    section = place.section
    sources = tuple(place.earlier(number, key="layers") for number in section.integers("layers"))
    shapes = [place.output_of(index) for index in sources]
    first = shapes[0]
    for index, shape in zip(sources, shapes, strict=True):
        if (shape.height, shape.width) != (first.height, first.width):
            message = f"joins layer {sources[0]} ({first}) and layer {index} ({shape}): expected equal height and width"
            raise section.error(message, key="layers")
    output = Shape(channels=sum(shape.channels for shape in shapes), height=first.height, width=first.width)
    return kinds.Route(**place.common(output, sources=sources, first=first))


def _shortcut(place: Place) -> Layer:
    section, shape = place.section, place.input
    other = place.earlier(section.integer("from"), key="from")
    added = place.output_of(other)
    # darknet's shortcut_cpu asserts both ratios; the smaller plane must fit the larger one a whole number of times.
    ratios = (added.width // shape.width, shape.width // added.width)
    if ratios != (added.height // shape.height, shape.height // added.height):
        message = f"adds layer {other} ({added}) to {shape}: expected the same ratio of heights and widths"
        raise section.error(message, key="from")
    return kinds.Shortcut(
        **place.common(shape, sources=(place.index - 1, other)),
        activation=place.activation("linear"),
        alpha=section.number("alpha", 1.0),
        beta=section.number("beta", 1.0),
    )


def _upsample(place: Place) -> Layer:
    shape = place.input
    stride = place.section.integer("stride", 2, minimum=1)
    output = Shape(channels=shape.channels, height=shape.height * stride, width=shape.width * stride)
    return kinds.Upsample(**place.common(output), stride=stride, scale=place.section.number("scale", 1.0))


def _batchnorm(place: Place) -> Layer:
    return kinds.BatchNorm(**place.common(place.input), dontload=place.section.boolean("dontload"))


def _activation(place: Place) -> Layer:
    return kinds.Activation(**place.common(place.input), activation=place.activation("linear"))


def _reorg(place: Place) -> Layer:
    section, shape = place.section, place.input
    stride = section.integer("stride", 1, minimum=1)
    reverse = section.boolean("reverse")
    # reorg_cpu splits the channels by stride * stride in both directions and reads outside its input if it cannot.
    if shape.channels % (stride * stride):
        message = f"stride={stride}: expected input channels divisible by {stride * stride}, found {shape}"
        raise section.error(message, key="stride")
    if reverse:
        channels, height, width = shape.channels // stride**2, shape.height * stride, shape.width * stride
    elif shape.height % stride or shape.width % stride:
        raise section.error(f"stride={stride} does not divide the input {shape}", key="stride")
    else:
        channels, height, width = shape.channels * stride**2, shape.height // stride, shape.width // stride
    output = Shape(channels=channels, height=height, width=width)
    return kinds.Reorg(**place.common(output), stride=stride, reverse=reverse)


def _normalization(place: Place) -> Layer:
    section = place.section
    return kinds.Normalization(
        **place.common(place.input),
        alpha=section.number("alpha", 0.0001),
        beta=section.number("beta", 0.75),
        kappa=section.number("kappa", 1.0),
        size=section.integer("size", 5, minimum=1),
    )


_BUILDERS: dict[str, Callable[[Place], Layer]] = {
    "convolutional": _convolutional,
    "connected": _connected,
    "local": _local,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "dropout": _dropout,
    "softmax": _softmax,
    "cost": _cost,
    "crop": _crop,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": _upsample,
    "batchnorm": _batchnorm,
    "activation": _activation,
    "reorg": _reorg,
    "normalization": _normalization,
}


def _flat(elements: int) -> Shape:
    """A vector as darknet sees it: one pixel of many channels."""
    return Shape(channels=elements, height=1, width=1)


def _windows(section: Section, length: int, *, size: int, stride: int, border: int) -> int:
    """How many windows of `size` fit a side of `length` with `border` pixels added in total; at least 1."""
    if length + border < size:
        found = f"{length} pixels and {border} of padding" if border else f"{length} pixels"
        raise section.error(f"size={size} is larger than the input's side of {found}: no output is left", key="size")
    return (length + border - size) // stride + 1


def _prune_options(section: Section) -> PruneOptions | None:
    """The layer's `prune_*` keys: all three or none, and with them perhaps `prune_winograd`."""
    given = [key for key in (*PRUNE_KEYS, PRUNE_WINOGRAD_KEY) if key in section.options]
    if not given:
        return None
    for key in PRUNE_KEYS:
        if key not in given:
            raise section.error(f"has {given[0]}= but no {key}=: expected {', '.join(PRUNE_KEYS)}", key=given[0])
    sparsity = section.number("prune_sparsity", 0.0)
    if not 0 <= sparsity < 1:
        raise section.error(f"prune_sparsity={sparsity:g}: expected at least 0 and less than 1", key="prune_sparsity")
    try:
        unit = Unit.parse(section.text("prune_unit"))
    except UsageError as error:
        raise section.error(f"prune_unit: {error}", key="prune_unit") from error
    winograd = section.integer(PRUNE_WINOGRAD_KEY, minimum=1) if PRUNE_WINOGRAD_KEY in given else None
    return PruneOptions(method=section.text("prune_method"), unit=unit, sparsity=sparsity, winograd=winograd)
