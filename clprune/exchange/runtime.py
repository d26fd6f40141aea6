"""ONNX files in ONNX Runtime, which says what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, helper

from clprune.exchange.read import faults_of, needed_nodes


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


def run_tensor(model: ModelProto, path: str | Path, x: npt.NDArray[np.float32], *, name: str) -> npt.NDArray[Any]:
    """The tensor `name` of a model for its input `x`. Raises ExchangeError about `path`.

    What the tensor does not depend on, which nobody has looked at, is not run, and left out of `model`.
    """
    output = next((value for value in model.graph.output if value.name == name), None)
    nodes = needed_nodes(model, [name])
    for values, kept in ((model.graph.node, nodes), (model.graph.output, [] if output is None else [output])):
        del values[:]
        values.extend(kept)
    if output is None:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    with faults_of(path, "ONNX Runtime refuses it"):
        return np.asarray(run_onnx(model.SerializeToString(), x)[name])
