"""OpenVINO's CPU plug-in, set for latency and for float32 throughout (it may choose bfloat16 by itself)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino

from tools.bench.peers.onnx_file import onnx_file
from tools.bench.serve import FloatArray


class OpenvinoEngine:
    """Options: model, weights, batch, threads, folder (where the ONNX file goes)."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": options["threads"],
        }
        self._request = core.compile_model(str(onnx_file(options)), "CPU", settings).create_infer_request()

    def describe(self) -> dict[str, Any]:
        return {"version": openvino.__version__.partition("-")[0]}

    def run(self, x: FloatArray) -> FloatArray:
        results = self._request.infer([x], share_inputs=True, share_outputs=True)
        return np.array(results[0], np.float32)


def load(options: Mapping[str, Any]) -> OpenvinoEngine:
    return OpenvinoEngine(options)
