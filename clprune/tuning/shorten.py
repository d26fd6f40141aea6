"""Large fully connected layers are tuned on fewer rows: packing and checking the whole would take longer than tuning.

Rows of such a layer are independent and their weights are read once, so what counts is that they come from memory and
not from a cache: the shortened layer is still several times larger than the caches of its device.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from clprune.device import DeviceInfo
from clprune.geometry import Shape
from clprune.kernels.base import Workload, round_up
from clprune.kernels.connected import ConnectedOperation
from clprune.kernels.storage import STORAGE_BITS
from clprune.layout import contiguous_layout

#: Kept weights that a shortened layer has at least, which is more than most last-level caches hold.
FEWEST_BYTES = 96 * 2**20

#: Weights before pruning that a shortened layer has at most, whatever is kept: making them takes the time.
MOST_BYTES = 192 * 2**20

#: Rows that keep every compute unit of a GPU busy.
_ROWS_PER_COMPUTE_UNIT = 32
_ROW_MULTIPLE = 256  # of every tile's rows: no candidate loses to others by a ragged end


def shortened(operation: Any, workload: Workload, device: DeviceInfo) -> Any:
    """The operation to measure in place of `operation`, with the same columns: `operation` itself where it is small.

    Its `key` says what it is.
    """
    if not isinstance(operation, ConnectedOperation):
        return operation
    problem = operation.problem
    row_bytes = STORAGE_BITS[operation.storage] * problem.columns / 8
    wanted = min(FEWEST_BYTES / (row_bytes * max(workload.kept_share, 0.01)), MOST_BYTES / row_bytes)
    rows = round_up(max(1, int(wanted)), _ROW_MULTIPLE)
    if device.type != "cpu":
        rows = max(rows, _ROWS_PER_COMPUTE_UNIT * device.compute_units)
    if rows >= problem.outputs:
        return operation
    return dataclasses.replace(
        operation,
        problem=dataclasses.replace(problem, outputs=rows),
        output=contiguous_layout(batch=problem.batch, shape=Shape(channels=rows, height=1, width=1)),
    )
