"""The CUDA driver by NVIDIA's own bindings (PyPI: cuda-bindings), and its errors as one."""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class CudaError(Exception):
    """What the driver answers that could not do what was asked."""


@functools.cache
def is_there() -> bool:
    """Whether the machine has the driver: the bindings are slow to import where it has not."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


@functools.cache
def bindings() -> Any:
    """The module of the driver's functions, ready to be called. Raises ImportError without them, CudaError."""
    module = importlib.import_module("cuda.bindings.driver")
    try:
        ask(module.cuInit, 0)
    except RuntimeError as error:  # the library that the bindings look for is not there
        raise CudaError(str(error)) from error
    return module


def ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the driver returns. Raises CudaError."""
    status, *found = function(*arguments)
    if int(status) != 0:
        name = getattr(status, "name", str(status))
        raise CudaError(f"{function.__name__}: {name.removeprefix('CUDA_').lower().replace('_', ' ')}")
    return found[0] if found else None
