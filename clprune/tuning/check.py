"""A quick test whether a tile computes right answers on a device: for tiles that were tuned or predicted elsewhere."""

from __future__ import annotations

from typing import Any

from clprune.errors import BuildError, ConfigurationRejected, LaunchError
from clprune.kernels.base import Kernel, Workload
from clprune.opencl import Session
from clprune.tuning.measure import bind_case, verify

#: Small problems that a tile must solve; the first that its constraints allow, largest first.
MOST_OPERATIONS = 2


def gives_right_answers(session: Session, kernel: Kernel[Any, Any], tile: Any) -> bool:
    """Run `tile` on the kernel's small sample problems, dense and pruned, against float64.

    False when the device refuses to build or run it, when an answer is wrong, and when no sample problem allows it.
    """
    operations = [
        operation for operation in kernel.sample_operations() if kernel.rejection(tile, operation, session.info) is None
    ]
    operations.sort(key=lambda operation: -operation.flops)
    workloads = (Workload(), Workload(kept_share=0.5, unit_rows=4))
    try:
        for operation, workload in zip(operations[:MOST_OPERATIONS], workloads, strict=False):
            case = kernel.case(tile, operation, kernel.sample(operation, workload))
            verify(session, bind_case(session, kernel, tile, operation, case))
    except (BuildError, LaunchError, ConfigurationRejected):
        return False
    return bool(operations)
