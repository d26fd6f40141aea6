"""The driver errors and status codes that clprune tells apart."""

from __future__ import annotations

import pyopencl as cl

#: What pyopencl raises when a driver refuses; they share `cl.Error`, which nothing raises itself.
DRIVER_ERRORS = (cl.LogicError, cl.RuntimeError, cl.MemoryError)

#: CL_DEVICE_NOT_FOUND and CL_PLATFORM_NOT_FOUND_KHR: answers, not failures.
NOTHING_FOUND = (-1, -1001)

INVALID_BUILD_OPTIONS = -43
