"""Every kernel there is: what suites, tools and the database iterate over."""

from __future__ import annotations

from typing import Any

from clprune.errors import UsageError
from clprune.kernels.base import Kernel
from clprune.kernels.clear_padding import CLEAR_PADDING
from clprune.kernels.connected import CONNECTED
from clprune.kernels.connected_int8 import CONNECTED_INT8
from clprune.kernels.conv import CONV
from clprune.kernels.conv_channels import CONV_CHANNELS
from clprune.kernels.conv_int8 import CONV_INT8
from clprune.kernels.pointwise import POINTWISE
from clprune.kernels.pool import AVERAGE_POOL, MAX_POOL
from clprune.kernels.softmax import SOFTMAX
from clprune.kernels.sparse_connected import SPARSE_CONNECTED
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.sparse_conv_local import SPARSE_CONV_LOCAL
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_fused import WINOGRAD_FUSED

#: Tiles and operations differ from kernel to kernel, hence Any: whoever iterates only passes them back.
CATALOGUE: tuple[Kernel[Any, Any], ...] = (
    CONV,
    CONV_CHANNELS,
    CONV_INT8,
    WINOGRAD,
    WINOGRAD_FUSED,
    SPARSE_CONV,
    SPARSE_CONV_LOCAL,
    CONNECTED,
    CONNECTED_INT8,
    SPARSE_CONNECTED,
    MAX_POOL,
    AVERAGE_POOL,
    SOFTMAX,
    POINTWISE,
    CLEAR_PADDING,
)


def kernel_by_name(name: str) -> Kernel[Any, Any]:
    """The kernel called `name`. Raises UsageError."""
    for kernel in CATALOGUE:
        if kernel.name == name:
            return kernel
    raise UsageError(f"kernel {name!r}: expected one of {', '.join(kernel.name for kernel in CATALOGUE)}")
