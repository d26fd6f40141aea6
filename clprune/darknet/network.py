"""A cfg as a `Network`: layers with their shapes. Source of the rules: darknet's parser.c."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clprune.darknet.annotate import annotate_cfg
from clprune.darknet.cfg import CfgWarning, Section, parse_cfg
from clprune.darknet.keys import REFUSED, UNSUPPORTED, known_keys, neutral_keys
from clprune.darknet.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    Connected,
    Convolutional,
    Cost,
    Crop,
    Dropout,
    Layer,
    Local,
    MaxPool,
    Normalization,
    PruneOptions,
    Reorg,
    Route,
    Shortcut,
    Softmax,
    Upsample,
)
from clprune.darknet.shapes import Place, make_layer
from clprune.errors import UsageError
from clprune.geometry import Shape

__all__ = [
    "Activation",
    "AvgPool",
    "BatchNorm",
    "CfgWarning",
    "Connected",
    "Convolutional",
    "Cost",
    "Crop",
    "Dropout",
    "Layer",
    "Local",
    "MaxPool",
    "Network",
    "Normalization",
    "PruneOptions",
    "Reorg",
    "Route",
    "Shortcut",
    "Softmax",
    "Upsample",
    "annotate_cfg",
    "load_network",
]

#: Kinds that take a vector; all others want an image, as in darknet.
FLAT_KINDS = frozenset({"connected", "dropout", "softmax", "cost", "activation"})


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with all shapes known.

    `input` is the shape of one image, `batch` the images of one run, `net_options` the `[net]` section's values as
    text (what training was done with, unchecked).
    """

    path: Path
    input: Shape
    batch: int
    layers: tuple[Layer, ...]
    net_options: Mapping[str, str]

    @property
    def output_layer(self) -> Layer:
        """The last layer that is not a [cost], whose values are the network's answer."""
        return next(layer for layer in reversed(self.layers) if not isinstance(layer, Cost))

    @property
    def output_shape(self) -> Shape:
        """Shape of the answer for one image."""
        return self.output_layer.output

    @property
    def outputs(self) -> int:
        """Values of the answer for one image."""
        return self.output_shape.elements


def load_network(path: str | Path, *, batch: int = 1) -> Network:
    """Read a darknet cfg and work out every shape.

    `batch` is the number of images of one run; the cfg's own `batch` belongs to training. Unknown keys earn one
    `CfgWarning` each. Raises CfgError naming file and line, and UnsupportedLayerError for layer kinds that darknet
    has and clprune does not run.
    """
    if batch < 1:
        raise UsageError(f"batch {batch}: expected at least 1")
    net, *sections = parse_cfg(path)
    _check_keys(net)
    first = _input_shape(net)
    if all(section.name == "cost" for section in sections):
        raise net.error("no layer follows: expected at least one")
    if "height" not in net.options and sections[0].name not in FLAT_KINDS | UNSUPPORTED:
        raise sections[0].error("wants an image: expected height, width and channels in [net], found inputs only")
    layers: list[Layer] = []
    for index, section in enumerate(sections):
        if section.name not in UNSUPPORTED:
            _check_keys(section)
        shape = layers[-1].output if layers else first
        layers.append(make_layer(Place(section=section, index=index, before=layers, input=shape)))
    options = {key: option.value for key, option in net.options.items()}
    return Network(path=Path(path), input=first, batch=batch, layers=tuple(layers), net_options=options)


def _input_shape(net: Section) -> Shape:
    """The `[net]` section's height, width and channels, or a vector of `inputs` values."""
    sides = ("height", "width", "channels")
    given = [key for key in sides if key in net.options]
    if not given and "inputs" in net.options:
        return Shape(channels=net.integer("inputs", minimum=1), height=1, width=1)
    missing = [key for key in sides if key not in given]
    if missing:
        raise net.error(f"has no {missing[0]}=: expected height, width and channels (or inputs alone)")
    height, width, channels = (net.integer(key, minimum=1) for key in sides)
    shape = Shape(channels=channels, height=height, width=width)
    if net.integer("inputs", shape.elements) != shape.elements:
        raise net.error(f"inputs={net.text('inputs')}: expected {shape.elements} for {shape}", key="inputs")
    return shape


def _check_keys(section: Section) -> None:
    """Refuse keys that change inference in ways not computed here, warn of unknown ones."""
    neutral, known = neutral_keys(section.name), known_keys(section.name)
    for key, option in section.options.items():
        if key in REFUSED.get(section.name, ()):
            raise section.error(f"{key} changes what the layer computes and is not supported: remove it", key=key)
        if key in neutral and section.number(key, neutral[key]) != neutral[key]:
            message = f"{key}={option.value} changes what the layer computes and is not supported"
            raise section.error(f"{message}: expected {neutral[key]:g}", key=key)
        if key not in known:
            message = f"{section.path}:{option.line}: unknown key {key!r} in [{section.name}] is ignored"
            warnings.warn(CfgWarning(message), stacklevel=3)
