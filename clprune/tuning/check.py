"""A quick test whether a tile computes right answers on a device: for tiles that were tuned or predicted elsewhere."""

from __future__ import annotations

from typing import Any

from clprune.device import DeviceInfo
from clprune.errors import BuildError, ConfigurationRejected, LaunchError
from clprune.geometry import ConvProblem
from clprune.kernels.base import Kernel, Workload
from clprune.kernels.conv import ConvTile
from clprune.kernels.conv_channels import ConvChannelsTile
from clprune.kernels.conv_operation import conv_operation
from clprune.opencl import Session
from clprune.tuning.measure import bind_case, verify

#: Small problems that a tile must solve, dense and pruned in turns: the largest that its constraints allow.
MOST_OPERATIONS = 2
_WORKLOADS = (Workload(), Workload(kept_share=0.5, unit_rows=4))


def gives_right_answers(session: Session, kernel: Kernel[Any, Any], tile: Any) -> bool:
    """Run `tile` on small problems against float64.

    False when the device refuses to build or run it, when an answer is wrong, and when no small problem allows it.
    """
    operations = small_operations(kernel, tile, session.info)
    try:
        for operation, workload in zip(operations, _WORKLOADS, strict=False):
            case = kernel.case(tile, operation, kernel.sample(operation, workload))
            verify(session, bind_case(session, kernel, tile, operation, case))
    except (BuildError, LaunchError, ConfigurationRejected):
        return False
    return bool(operations)


def small_operations(kernel: Kernel[Any, Any], tile: Any, device: DeviceInfo) -> list[Any]:
    """At most MOST_OPERATIONS problems that `tile` may solve, the largest first."""
    operations = [*kernel.sample_operations()]
    if isinstance(tile, ConvTile | ConvChannelsTile):
        rows = tile.tile_m * tile.group_m if isinstance(tile, ConvTile) else tile.tile_m
        operations += _many_channels(rows * max(tile.sweep, 1), is_packed=getattr(tile, "mapping", "") == "packed")
    allowed = [operation for operation in operations if kernel.rejection(tile, operation, device) is None]
    return sorted(allowed, key=lambda operation: -operation.flops)[:MOST_OPERATIONS]


def _many_channels(rows: int, *, is_packed: bool) -> list[Any]:
    """Convolutions with more output channels than the `rows` that a tile's work-groups sweep over, and a ragged end.

    `is_packed`: with rows short enough for several of them to fill a vector.
    """
    problem = ConvProblem(
        batch=5 if is_packed else 1,
        in_channels=3,
        in_height=4 if is_packed else 14,
        in_width=4 if is_packed else 34,
        out_channels=2 * rows + 3,
        size=3,
        padding=1,
    )
    return [conv_operation(problem, activation="relu", pooled=pooled) for pooled in (False, True)]
