"""ONNX Runtime's CPU provider, its own settings but for the threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime

from tools.bench.peers.onnx_file import INPUT, onnx_file
from tools.bench.serve import FloatArray


class OnnxruntimeEngine:
    """Options: model, weights, batch, threads, folder (where the ONNX file goes)."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options["threads"]
        path = str(onnx_file(options))
        self._session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def describe(self) -> dict[str, Any]:
        return {"version": onnxruntime.__version__}

    def run(self, x: FloatArray) -> FloatArray:
        answer: FloatArray = self._session.run(None, {INPUT: x})[0]
        return answer


def load(options: Mapping[str, Any]) -> OnnxruntimeEngine:
    return OnnxruntimeEngine(options)
