"""A model as an ONNX file's content, by onnx's own helpers alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import onnx
from onnx import TensorProto, helper

from clprune.container.model import Model
from clprune.darknet.kinds.base import Layer
from clprune.detection.options import DetectionOptions
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.exchange.boxes import BOX_OUTPUTS, write_boxes
from clprune.exchange.graph import Graph, Site
from clprune.exchange.operators import write_layer
from clprune.version import __version__

#: Version 13 of the operators has all that is written (the first with scales per channel for quantized weights), and
#: every runtime of the last years reads it.
OPSET = 13
_IR_VERSION = 7

INPUT = "images"
#: Protocol buffers end there.
MAX_BYTES = 2**31 - 1


def onnx_content(model: Model, *, batch: int | None, boxes: DetectionOptions | None = None) -> bytes:
    """`model` as the content of an ONNX file, of the operators of version `OPSET`.

    The input `images` is float32 `[batch, C, H, W]` as `Runner` takes it; a batch of None is dynamic. Every output
    layer has an output, called by its kind and index: `[batch, elements]` for a vector, else `[batch, C, H, W]`.
    With `boxes` there are those of `BOX_OUTPUTS` as well. Metadata properties hold the class names,
    what the input's values are, and what a detector's heads say of themselves. Raises UnsupportedLayerError, UsageError
    where a layer's weights are missing or the file would be larger than 2 GB.
    """
    graph, network = Graph(), model.network
    tensors = {-1: INPUT}
    for layer in network.layers:
        tensors[layer.index] = _write(model, graph, layer, tensors)
    outputs = []
    first: int | str = batch or "batch"
    for layer in network.output_layers:
        shape = layer.output
        sides = [shape.elements] if shape.height * shape.width == 1 else [*shape.dimensions]
        graph.scope = output_name(layer)
        x = tensors[layer.index]
        y = graph.vector(x) if len(sides) == 1 else graph.planes(x, shape)
        graph.add("Identity", y, output=output_name(layer))
        outputs.append(helper.make_tensor_value_info(output_name(layer), TensorProto.FLOAT, [first, *sides]))
    if boxes is not None:
        write_boxes(network, graph, tensors, boxes)
        for name, entry in BOX_OUTPUTS.items():
            kind = TensorProto.FLOAT if name in ("boxes", "confidences") else TensorProto.INT64
            outputs.append(helper.make_tensor_value_info(name, kind, ["objects", *entry]))
    given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [first, *network.input.dimensions])
    return _content(helper.make_graph(graph.nodes, model.path.stem, [given], outputs, graph.constants), metadata(model))


def output_name(layer: Layer) -> str:
    """What an output of the file is called, and what the names of a layer's tensors begin with."""
    return f"{layer.kind}_{layer.index}"


def metadata(model: Model) -> dict[str, str]:
    """The file's metadata properties: class names as a JSON list, what the values of the input are, and the
    options of each head, a JSON object by the names of outputs.
    """
    channels = model.network.input.channels
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    named = {} if model.names_file is None else {"names": json.dumps(list(model.names), ensure_ascii=False)}
    heads = {output_name(layer): _facts(layer) for layer in model.network.output_layers if layer.is_head}
    described = {"heads": json.dumps(heads)} if heads else {}
    return {"producer": f"clprune {__version__}", "input": f"{colours}, 0 to 1, [N, C, H, W]", **named, **described}


def _facts(head: Layer) -> dict[str, Any]:
    """The options of a head's own, as JSON can hold them."""
    return {name: getattr(head, name) for name in vars(head) if name in own_fields(type(head))}


def own_fields(kind: type[Layer]) -> set[str]:
    """The fields of a kind of heads that describe it; a tree of classes is a file."""
    return {field.name for field in fields(kind)} - {*Layer.__dataclass_fields__, "hierarchy"}


def _write(model: Model, graph: Graph, layer: Layer, tensors: Mapping[int, str]) -> str:
    network, values = model.network, model.weights.layers[layer.values_index]
    if layer.arrays and values is None:
        raise UsageError(f"{layer} has no weights: expected a file that holds them (and no dontload=1)")
    graph.scope = output_name(layer)
    shapes = tuple(network.input if source < 0 else network.layers[source].output for source in layer.sources)
    sources = tuple(tensors[source] for source in layer.sources)
    try:
        return write_layer(layer, Site(graph=graph, sources=sources, shapes=shapes, values=values))
    except UnsupportedLayerError as error:
        raise UnsupportedLayerError(f"{network.path}:{layer.line}: {error}") from error


def _content(graph: onnx.GraphProto, properties: Mapping[str, str]) -> bytes:
    size = sum(len(array.raw_data) for array in graph.initializer)
    if size > MAX_BYTES:
        raise UsageError(f"{size / 1e9:.1f} GB of weights: an ONNX file ends at 2 GB")
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="clprune", producer_version=__version__
    )
    helper.set_model_props(model, dict(properties))
    content: bytes = model.SerializeToString()
    return content
