"""The one door to OpenCL: discover devices, build kernels, hold buffers, launch, time. Nothing else imports pyopencl.

Driver limits are checked when a kernel is bound, and every driver error becomes one of ours, naming kernel and limit.
"""

from __future__ import annotations

from clprune.opencl.kernels import Argument, BoundKernel, Buffer, Kernel, Program
from clprune.opencl.platforms import choose, devices, discover_platforms
from clprune.opencl.session import Session, open_device

__all__ = [
    "Argument",
    "BoundKernel",
    "Buffer",
    "Kernel",
    "Program",
    "Session",
    "choose",
    "devices",
    "discover_platforms",
    "open_device",
]
