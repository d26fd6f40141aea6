"""A quick test whether a tile computes right answers on a device: for tiles that were tuned or predicted elsewhere."""

from __future__ import annotations

from typing import Any

from clprune.device import DeviceInfo
from clprune.errors import BuildError, ConfigurationRejected, LaunchError
from clprune.kernels.base import Kernel, Workload
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
    allowed = [operation for operation in kernel.probes(tile) if kernel.rejection(tile, operation, device) is None]
    return sorted(allowed, key=lambda operation: -operation.flops)[:MOST_OPERATIONS]
