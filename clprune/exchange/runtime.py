"""ONNX files in ONNX Runtime, which says what they compute."""

from __future__ import annotations

from collections.abc import Sequence
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
        found = run_onnx(model.SerializeToString(), x)
        return [np.asarray(found[name]) for name in names]
