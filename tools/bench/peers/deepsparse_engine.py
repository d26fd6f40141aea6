"""DeepSparse, which makes use of single zeros in weights on a CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("NM_DISABLE_ANALYTICS", "1")  # it reports its use otherwise

import deepsparse

from tools.bench.peers.onnx_file import onnx_file
from tools.bench.serve import FloatArray


class DeepsparseEngine:
    """Options: model, weights, batch, threads, folder (where the ONNX file goes)."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        path = str(onnx_file(options))
        self._engine = deepsparse.compile_model(path, batch_size=options["batch"], num_cores=options["threads"])

    def describe(self) -> dict[str, Any]:
        return {"version": deepsparse.__version__}

    def run(self, x: FloatArray) -> FloatArray:
        answer: FloatArray = self._engine.run([x])[0]
        return answer


def load(options: Mapping[str, Any]) -> DeepsparseEngine:
    return DeepsparseEngine(options)
