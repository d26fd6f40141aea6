"""The one door to devices: discover them, build kernels, hold buffers, launch, time.

Nothing else imports pyopencl, or the CUDA driver's bindings (`clprune.opencl.cuda`).

Driver limits are checked when a kernel is bound, and every driver error becomes one of ours, naming kernel and limit.
"""

from __future__ import annotations

from clprune.opencl.kernels import Argument, BoundKernel, Buffer, Kernel, Program
from clprune.opencl.opening import open_device, open_session
from clprune.opencl.platforms import choose, devices, discover_platforms
from clprune.opencl.session import Session

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
    "open_session",
]
