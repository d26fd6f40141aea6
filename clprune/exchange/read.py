"""ONNX files: read whole, with what lies outside of them from their own folder only, and single nodes evaluated.

Nothing that a file says is trusted: what the library raises over it is one line, and what is made of its constants is
bounded before it is made.
"""

from __future__ import annotations

import ast
import functools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import (
    FunctionProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    external_data_helper,
    helper,
    inliner,
    numpy_helper,
)
from onnx.reference import ReferenceEvaluator

from clprune.errors import ClpruneError, ExchangeError, UsageError, shown
from clprune.exchange.wire import has_more_fields
from clprune.files import known_content, read_bytes

Array = npt.NDArray[Any]

#: Protocol buffers hold no more.
MAX_BYTES = 1 << 31

#: Values of one constant or of one layer's output.
MAX_VALUES = 1 << 26

#: Nodes of a graph, its local functions inlined, and fields of all that a file holds: a node has ten to thirty.
MAX_NODES, MAX_FIELDS = 1 << 15, 1 << 21


@contextmanager
def faults_of(path: str | Path, what: str) -> Iterator[None]:
    """Turn what a library raises over a file into an ExchangeError about `what`.

    onnx promises no types of exceptions, and checks little of what a file says.
    """
    try:
        yield
    except (ClpruneError, MemoryError):
        raise
    except Exception as error:  # see above: whatever it is, the file is its cause
        raise ExchangeError(f"{what}: {shown(str(error).strip(), 200)}", path=path) from error


def read_onnx(path: str | Path) -> ModelProto:
    """The model of an ONNX file, its local functions inlined.

    Data outside of the file are read from its folder or those below, never from elsewhere. Raises ExchangeError.
    """
    path = Path(path)
    model = parse_onnx(read_bytes(path, error=ExchangeError, expected="an ONNX file", max_bytes=MAX_BYTES), path)
    with faults_of(path, "its local functions cannot be inlined"):
        count = _count_nodes(model)
        if count > MAX_NODES:
            raise ExchangeError(f"holds {count} nodes: expected at most {MAX_NODES}", path=path)
    with faults_of(path, "its external data cannot be read"):
        _check_external_data(model, path)
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    with faults_of(path, "its local functions cannot be inlined"):
        return inliner.inline_local_functions(model) if model.functions else model


def parse_onnx(data: bytes, path: str | Path) -> ModelProto:
    """The model in the content of an ONNX file; `path` is for errors. Raises ExchangeError."""
    other = known_content(data[:64])
    if other is not None:
        raise ExchangeError(f"is {other}: expected an ONNX file", path=path)
    if has_more_fields(data, ModelProto.DESCRIPTOR, than=MAX_FIELDS):
        raise ExchangeError(f"holds more than {MAX_FIELDS} fields: expected a smaller model", path=path)
    model = ModelProto()
    with faults_of(path, "is no ONNX file, or not whole"):
        model.ParseFromString(data)
    if not model.graph.node:
        raise ExchangeError("holds no nodes: expected an ONNX file", path=path)
    return model


def _check_external_data(model: ModelProto, path: Path) -> None:
    """Raise ExchangeError where the tensors outside of the file take more than it might hold itself, or, all together,
    more than the files that they are in: each might be all of one file.
    """
    taken: Counter[str] = Counter()
    for tensor in _tensors_of(model):
        if external_data_helper.uses_external_data(tensor):
            facts = external_data_helper.ExternalDataInfo(tensor)
            with suppress(OSError, ValueError):  # what is not there, or no name, is refused when it is read
                size = (path.parent / facts.location).stat().st_size
                taken[facts.location] += min(facts.length or size, size - (facts.offset or 0))
                if taken[facts.location] > size:
                    raise ExchangeError(f"takes more of {shown(facts.location)!r} than it holds", path=path)
    if taken.total() > MAX_BYTES:
        raise ExchangeError(f"takes {taken.total()} bytes of other files: expected at most {MAX_BYTES}", path=path)


def _tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """All that a file holds, wherever it does."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    while graphs or nodes:
        for graph in graphs:
            yield from graph.initializer
            nodes += graph.node
        attributes = [attribute for node in nodes for attribute in node.attribute]
        for attribute in attributes:
            yield from (attribute.t, *attribute.tensors)
        graphs = [graph for one in attributes for graph in ([one.g] * one.HasField("g") + [*one.graphs])]
        nodes = []


def _count_nodes(model: ModelProto) -> int:
    """Nodes of the graph when its local functions, which may call each other, are inlined."""
    bodies = {_inlined_as(function, function.name): function.node for function in model.functions}

    @functools.cache  # a function that calls itself ends in a RecursionError
    def nodes_of(function: str) -> int:
        return count(bodies[function]) if function in bodies else 1

    def count(nodes: Iterable[NodeProto]) -> int:
        return sum(nodes_of(_inlined_as(node, node.op_type)) + sum(map(count, _graphs_of(node))) for node in nodes)

    return count(model.graph.node)


def _inlined_as(of: FunctionProto | NodeProto, name: str) -> str:
    """The text by which onnx finds the function that a node calls: what differs may have the same."""
    return "::".join(["" if of.domain == "ai.onnx" else of.domain, name, *([of.overload] if of.overload else [])])


def _graphs_of(node: NodeProto) -> Iterator[Iterable[NodeProto]]:
    for attribute in node.attribute:
        yield attribute.g.node
        yield from (graph.node for graph in attribute.graphs)


def has_halves(model: ModelProto) -> bool:
    """Whether its constants are of 16 bits."""
    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    return any(tensor.data_type in halves for tensor in model.graph.initializer)


def constants_of(model: ModelProto, path: str | Path) -> dict[str, Array]:
    """Name -> values of every constant of the graph. Raises ExchangeError."""
    if model.graph.sparse_initializer:
        raise ExchangeError("holds sparse constants: expected dense ones", path=path)
    found = {}
    for tensor in model.graph.initializer:
        with faults_of(path, f"constant {shown(tensor.name)!r} cannot be read"):
            found[tensor.name] = np.asarray(numpy_helper.to_array(tensor))
    return found


def needed_nodes(model: ModelProto, outputs: Collection[str]) -> list[NodeProto]:
    """The nodes that `outputs` depend on, in their order."""
    wanted, found = {*outputs}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def metadata_of(model: ModelProto, key: str) -> str:
    """The entry `key` of the metadata, empty where there is none."""
    return next((entry.value for entry in model.metadata_props if entry.key == key), "")


def class_names_of(model: ModelProto) -> tuple[str, ...]:
    """Class names that exporters keep in the entry `names`, as a list or by number; none where there are none."""
    text = metadata_of(model, "names")
    try:
        names = ast.literal_eval(text) if len(text) < MAX_BYTES >> 8 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(names, dict):
        names = [names.get(index) for index in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isprintable() for name in names):
        return ()
    return tuple(names)


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Attributes as Python values, text decoded."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def evaluate(node: NodeProto, inputs: Sequence[Array | None], *, opset: int) -> list[Array]:
    """The outputs of one node for the values of its inputs (None: left out). Raises whatever onnx does."""
    _check_outputs(node, inputs)
    given = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    described = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
        for name, value in given.items()
    ]
    results = [ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "node", described, results)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        opset = max(opset, 19)  # onnx evaluates no earlier versions of these, which are the same
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
    with np.errstate(all="ignore"):
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, given)]


def _check_outputs(node: NodeProto, inputs: Sequence[Array | None]) -> None:
    """Raise UsageError for a node that would make other outputs than it names, or texts."""
    attributes = attributes_of(node)
    sizes = inputs[1] if node.op_type == "Split" and len(inputs) > 1 else attributes.get("split")
    count = attributes.get("num_outputs", len(node.output) if sizes is None else np.size(sizes))
    if node.op_type == "Split" and count != len(node.output):
        raise UsageError(f"makes {count} parts and names {len(node.output)}: expected as many")
    if node.op_type == "Cast" and attributes.get("to") == TensorProto.STRING:
        raise UsageError("makes texts: expected numbers")


def largest_result(operator: str, inputs: Sequence[Array], attributes: Mapping[str, Any]) -> int:
    """At most so many values come of constants that a folded node takes."""
    if operator in ("ConstantOfShape", "Expand"):
        sides = [max(int(side), 1) for side in np.ravel(inputs[-1])]
        given = inputs[0].shape if operator == "Expand" else ()
        rank = max(len(sides), len(given))
        return math.prod(map(max, _aligned(sides, rank), _aligned(given, rank)))
    if operator == "Gather":
        return math.prod(value.size for value in inputs)
    rank = max(value.ndim for value in inputs)
    sides = [max(lengths) for lengths in zip(*(_aligned(value.shape, rank) for value in inputs), strict=True)]
    return max(math.prod(sides), sum(value.size for value in inputs))


def _aligned(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """`shape` with ones before it, as broadcasting has it."""
    return (*(1,) * (rank - len(shape)), *shape)
