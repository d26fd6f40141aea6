"""What is tried: for each kind of file valid ones, how they are changed, and what a command does with one.

A handler returns a word for what it read, so that inputs that led somewhere new join the corpus. It may raise any
ClpruneError; whatever else it raises is a fault.
"""

from __future__ import annotations

from importlib.util import find_spec

from tests.fuzz.targets import cfg, lists, onnx, pictures, tuning, weights
from tests.fuzz.targets.target import Target

_OF_FILES = (cfg, weights, onnx, tuning, pictures, lists)
TARGETS = {
    target.name: target
    for module in _OF_FILES
    for target in module.TARGETS
    if target.name != "onnx" or find_spec("onnxruntime") is not None
}

__all__ = ["TARGETS", "Target"]
