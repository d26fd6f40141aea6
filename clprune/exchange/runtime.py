"""ONNX files in ONNX Runtime, which says what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from clprune.exchange.read import faults_of, needed_nodes

_UNUSUAL = (TensorProto.DOUBLE, TensorProto.BFLOAT16)


def run_onnx(content: bytes, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """Name -> value of every output of an ONNX file's content, for its one input `x`, computed on the CPU.

    The model gets `x` as float16 or a vector where it takes such.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal ones only: errors are raised
    settings = {
        "providers": ["CPUExecutionProvider"],
        "enable_fallback": 0,  # it would try the same once more, and print that it does
        "disabled_optimizers": ["WeightBiasQuantization"],  # it rounds biases where inputs are codes
    }
    session = onnxruntime.InferenceSession(content, options, **settings)
    (given,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    x = x.astype(np.float16 if given.type == "tensor(float16)" else np.float32, copy=False)
    if len(given.shape) == 2:
        x = x.reshape(len(x), -1)
    return dict(zip(names, session.run(names, {given.name: x}), strict=True))


def run_tensors(
    model: ModelProto, path: str | Path, x: npt.NDArray[np.float32], *, names: Sequence[str]
) -> list[npt.NDArray[Any]]:
    """The tensors `names` of a model for its input `x`. Raises ExchangeError about `path`.

    What they do not depend on, which nobody has looked at, is not run, and left out of `model`.
    """
    known = {value.name: value for value in model.graph.output}
    outputs = [known.get(name) or helper.make_empty_tensor_value_info(name) for name in names]
    for values, kept in ((model.graph.node, needed_nodes(model, names)), (model.graph.output, outputs)):
        del values[:]
        values.extend(kept)
    with faults_of(path, "ONNX Runtime refuses it"):
        found = run_onnx(_in_float32(model).SerializeToString(), x)
        return [np.asarray(found[name]) for name in names]


def _in_float32(model: ModelProto) -> ModelProto:
    """`model` with float32 in place of float64 and bfloat16, for which ONNX Runtime has few operators on CPUs."""
    graph = model.graph
    tensors = [*graph.initializer, *(item.t for node in graph.node for item in node.attribute if item.HasField("t"))]
    for tensor in tensors:
        if tensor.data_type in _UNUSUAL:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _UNUSUAL:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Cast" else ():
            if attribute.name == "to" and attribute.i in _UNUSUAL:
                attribute.i = TensorProto.FLOAT
    return model
