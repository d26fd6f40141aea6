"""Adapters of the engines that the benchmarks compare: one module each, imported only in that engine's own process."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from clprune.benchmark.serve import Engine
from clprune.errors import UsageError

#: Name on the command line -> (module of its adapter, distribution whose version is reported).
ENGINES: Mapping[str, tuple[str, str]] = {
    "clprune": ("peers.clprune_engine", "clprune"),
    "pytorch": ("peers.pytorch_engine", "torch"),
    "onnxruntime": ("peers.onnxruntime_engine", "onnxruntime"),
    "openvino": ("peers.openvino_engine", "openvino"),
    "ncnn": ("peers.ncnn_engine", "ncnn"),
    "deepsparse": ("peers.deepsparse_engine", "deepsparse"),
}


def load_engine(name: str, options: Mapping[str, Any]) -> Engine:
    """Load the engine `name`; every adapter has `load(options)`. Raises UsageError, and what the engine raises."""
    if name not in ENGINES:
        raise UsageError(f"engine {name!r}: expected one of {', '.join(ENGINES)}")
    engine: Engine = importlib.import_module(ENGINES[name][0]).load(options)
    return engine
