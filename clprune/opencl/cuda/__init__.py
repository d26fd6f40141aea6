"""OpenCL C through NVIDIA's CUDA driver, for GPUs whose driver came without OpenCL, as in many containers.

clang writes PTX, the driver makes the card's code of it and launches that. What a session is to the rest of the library
does not change.
"""

from __future__ import annotations

from clprune.opencl.cuda.platform import PLATFORM_NAME, find_platform
from clprune.opencl.cuda.session import CudaSession

__all__ = ["PLATFORM_NAME", "CudaSession", "find_platform"]
