"""An ONNX graph as a network, from its one input to its one output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto

from clprune.errors import ClpruneError, ExchangeError, UsageError, shown
from clprune.exchange.feature import Feature, channels_last, whole
from clprune.exchange.import_functions import FUNCTIONS
from clprune.exchange.import_matrices import MATRICES
from clprune.exchange.import_moves import MOVES
from clprune.exchange.import_windows import WINDOWS
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, Array, constants_of, needed_nodes
from clprune.exchange.sketch import Part, Sketch
from clprune.geometry import Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A network read from a graph: the shape of its input, its parts, and whether the graph's input has channels last.

    `output_name` is the tensor of the graph that the last part gives.
    """

    input: Shape
    parts: tuple[Part, ...]
    output_name: str
    is_channels_last: bool


def import_graph(
    model: ModelProto,
    path: str | Path,
    *,
    constants: Mapping[str, Array] | None = None,
    output: str | None = None,
    size: tuple[int, int] | None = None,
) -> Imported:
    """The network of a graph from its one input to `output` (by default its only one).

    `constants` are more of them, `size` (height, width) of an input that leaves them free. Raises ExchangeError naming
    the node that a cfg cannot express.
    """
    path = Path(path)
    graph = model.graph
    known = {**constants_of(model, path), **(constants or {})}
    given = [value for value in graph.input if value.name not in known]
    if len(given) != 1:
        names = ", ".join(shown(value.name) for value in given)
        raise ExchangeError(f"takes {len(given)} inputs ({names}): expected one, of images", path=path)
    shape, is_channels_last = _input_shape(given[0], path, size=size)
    sketch = Sketch(shape)
    places = channels_last(shape) if is_channels_last else whole(shape)
    if len(given[0].type.tensor_type.shape.dim) == 2:
        places = places.reshape(1, -1)
    tensors: dict[str, Array | Feature] = {**known, given[0].name: Feature(layer=-1, places=places)}
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    operators = Operators({**MOVES, **FUNCTIONS, **MATRICES, **WINDOWS})
    importer = Importer(path=path, opset=opset, sketch=sketch, operators=operators, tensors=tensors)
    name = _output_name(model, path, output)
    for node in needed_nodes(model, [name]):
        importer.read(node)
    return Imported(
        input=shape,
        parts=tuple(_finished(importer, name)),
        output_name=name,
        is_channels_last=is_channels_last,
    )


def _finished(importer: Importer, name: str) -> list[Part]:
    """The parts of the network that ends with the tensor `name`."""
    found = importer.tensors.get(name)
    if not isinstance(found, Feature):
        what = "given by no node" if found is None else "a constant"
        raise ExchangeError(f"output {shown(name)!r} is {what}: expected one of the input", path=importer.path)
    try:
        feature = importer.applied(found)
        shape = importer.sketch.shape(feature.layer)
        is_whole = np.array_equal(feature.places.reshape(-1), np.arange(shape.elements))
        layer = feature.layer if is_whole else importer.planes(feature)
        if layer < 0:
            raise UsageError("is the input itself")
        return importer.sketch.finished(layer)
    except ClpruneError as error:
        raise ExchangeError(f"output {shown(name)!r} {error}", path=importer.path) from error


def _input_shape(value: ValueInfoProto, path: Path, *, size: tuple[int, int] | None) -> tuple[Shape, bool]:
    """The shape of one image, and whether its channels come last."""
    sides = [side.dim_value if side.HasField("dim_value") else 0 for side in value.type.tensor_type.shape.dim]
    words = "x".join(str(side) if side > 0 else "?" for side in sides)
    name = shown(value.name)
    if len(sides) not in (2, 4):
        raise ExchangeError(f"input {name!r} is {words or 'of no known rank'}: expected [N, C, H, W]", path=path)
    if sides[0] > 1:
        message = f"input {name!r} is {words}: expected a batch of 1 or of any size; export the model with such a one"
        raise ExchangeError(message, path=path)
    if len(sides) == 2:
        sides, is_last = [*sides, 1, 1], False
    else:
        is_last = sides[1] not in (1, 3, 4) and sides[3] in (1, 3, 4)
        free = sides[1:3] if is_last else sides[2:]
        if size is not None and free not in ([0, 0], list(size)):
            raise ExchangeError(f"input {name!r} is {words}: it does not take {size[0]}x{size[1]}", path=path)
        height, width = size or free
        sides = [1, sides[3] if is_last else sides[1], height, width]
    if min(sides[1:]) < 1:
        message = f"input {name!r} is {words}: expected known sides, or --size HEIGHTxWIDTH where only those are free"
        raise ExchangeError(message, path=path)
    shape = Shape(channels=sides[1], height=sides[2], width=sides[3])
    if shape.elements > MAX_VALUES:
        raise ExchangeError(f"input {name!r} is {words}: expected at most {MAX_VALUES} values", path=path)
    return shape, is_last


def _output_name(model: ModelProto, path: Path, output: str | None) -> str:
    names = [value.name for value in model.graph.output]
    if output is not None:
        return output
    if len(names) != 1:
        found = ", ".join(map(shown, names))
        raise ExchangeError(f"has outputs {found}: expected one; choose a tensor with --output NAME", path=path)
    return str(names[0])
