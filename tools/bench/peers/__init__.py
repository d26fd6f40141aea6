"""Adapters of the engines that the benchmarks compare: one module each, imported only in that engine's own process."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from clprune.errors import UsageError
from tools.bench.serve import Engine

#: Name on the command line -> (module of its adapter, distribution whose version is reported).
ENGINES: Mapping[str, tuple[str, str]] = {
    "clprune": ("tools.bench.peers.clprune_engine", "clprune"),
    "pytorch": ("tools.bench.peers.pytorch_engine", "torch"),
    "onnxruntime": ("tools.bench.peers.onnxruntime_engine", "onnxruntime"),
    "openvino": ("tools.bench.peers.openvino_engine", "openvino"),
    "ncnn": ("tools.bench.peers.ncnn_engine", "ncnn"),
    "deepsparse": ("tools.bench.peers.deepsparse_engine", "deepsparse"),
}


def load_engine(name: str, options: Mapping[str, Any]) -> Engine:
    """Load the engine `name`; every adapter has `load(options)`. Raises UsageError, and what the engine raises."""
    if name not in ENGINES:
        raise UsageError(f"engine {name!r}: expected one of {', '.join(ENGINES)}")
    engine: Engine = importlib.import_module(ENGINES[name][0]).load(options)
    return engine
