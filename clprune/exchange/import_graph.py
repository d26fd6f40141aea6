"""An ONNX graph as a network, from its one input to its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto

from clprune.errors import ClpruneError, ExchangeError, UsageError, shown
from clprune.exchange.feature import Feature, channels_last, whole
from clprune.exchange.import_functions import FUNCTIONS
from clprune.exchange.import_heads import FoundHead, default_outputs, heads_of
from clprune.exchange.import_matrices import MATRICES
from clprune.exchange.import_moves import MOVES
from clprune.exchange.import_sums import SUMS
from clprune.exchange.import_transposed import TRANSPOSED
from clprune.exchange.import_windows import WINDOWS
from clprune.exchange.importer import Importer, Operators
from clprune.exchange.read import MAX_VALUES, Array, constants_of, needed_nodes
from clprune.exchange.sketch import Part, Sketch
from clprune.geometry import Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A network read from a graph: the shape of its input, its parts, and whether the graph's input has channels last.

    `output_names` are the tensors of the graph that the network's answers are, in their order.
    """

    input: Shape
    parts: tuple[Part, ...]
    output_names: tuple[str, ...]
    is_channels_last: bool


def import_graph(
    model: ModelProto,
    path: str | Path,
    *,
    constants: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = (),
    size: tuple[int, int] | None = None,
) -> Imported:
    """The network of a graph from its one input to `outputs` (by default all that it has).

    `constants` are more of them, `size` (height, width) of an input that leaves them free. Heads of detectors that
    clprune has exported become those again. Raises ExchangeError naming the node that a cfg cannot express.
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
    operators = Operators({**MOVES, **FUNCTIONS, **MATRICES, **SUMS, **TRANSPOSED, **WINDOWS})
    importer = Importer(path=path, opset=opset, sketch=sketch, operators=operators, tensors=tensors)
    heads = heads_of(model)
    wanted = tuple(dict.fromkeys(outputs)) or default_outputs(model, heads)
    if not wanted:
        raise ExchangeError("has no output: expected one; choose a tensor with --output NAME", path=path)
    heads = {name: head for name, head in heads.items() if name in wanted}
    for node in needed_nodes(model, [heads[name].source if name in heads else name for name in wanted]):
        importer.read(node)
    layers = [_layer_of(importer, heads[name].source if name in heads else name) for name in wanted]
    answers = [
        _answer(importer, layer, heads.get(name), count=len(wanted)) for layer, name in zip(layers, wanted, strict=True)
    ]
    return Imported(
        input=shape, parts=tuple(sketch.finished(answers)), output_names=wanted, is_channels_last=is_channels_last
    )


def _layer_of(importer: Importer, name: str) -> int:
    """The layer that delivers the tensor `name`."""
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
        return layer
    except ClpruneError as error:
        raise ExchangeError(f"output {shown(name)!r} {error}", path=importer.path) from error
    except RecursionError as error:
        reason = "comes after more functions in a row than can be resolved"
        raise ExchangeError(f"output {shown(name)!r} {reason}", path=importer.path) from error


def _answer(importer: Importer, layer: int, head: FoundHead | None, *, count: int) -> int:
    """The layer that is one of `count` answers: the head that follows `layer`, or what marks it as one of several."""
    if head is None:
        return layer if count == 1 else importer.sketch.add("output", layer)
    try:
        return importer.sketch.add(head.section, layer, **head.options)
    except ClpruneError as error:
        raise ExchangeError(f"head [{head.section}]: {error}", path=importer.path) from error


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
