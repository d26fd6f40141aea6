"""ONNX files in ONNX Runtime, which says what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime


def run_onnx(content: bytes, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """Name -> value of every output of an ONNX file's content, for its one input `x`, computed on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {given.name: x}), strict=True))
