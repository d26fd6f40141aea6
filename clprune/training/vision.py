"""The only import of torchvision, which brings torch with it."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import torch

from clprune.errors import MissingDependencyError

_MISSING_OPERATOR = "operator torchvision::nms does not exist"


@lru_cache(maxsize=1)
def import_torchvision() -> Any:
    """The module `torchvision`. Raises MissingDependencyError."""
    try:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if _MISSING_OPERATOR not in str(error):
                raise
            # torchvision built for another kind of torch (PyPI's beside a CPU build) has no compiled operators, but
            # registers shape rules for them: declaring the operators is all that its loaders need
            _declare_operators()
            return importlib.import_module("torchvision")
    except ImportError as error:
        raise MissingDependencyError(
            f"torchvision, which this needs, cannot be imported ({error}); install it with: pip install clprune[train]"
        ) from error


@lru_cache(maxsize=1)
def _declare_operators() -> Any:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch has no types here
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # the cache keeps it: its declarations end with the object
