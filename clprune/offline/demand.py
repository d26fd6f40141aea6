"""What a tile asks of a GPU: work-groups, columns, loads and bytes, counted from the templates' loops.

Counted here are the two kernels that are tuned, conv and connected. All counts are per work-group, per warp or per
column of K as their names say; nothing is measured. `ranking` turns them into time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from clprune.errors import UsageError
from clprune.kernels.base import Kernel, Workload, ceil_div
from clprune.kernels.connected import CONNECTED, ConnectedOperation, ConnectedTile
from clprune.kernels.conv import CONV, ConvTile, accumulators
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.pointwise import POINTWISE
from clprune.kernels.pool import AVERAGE_POOL, MAX_POOL
from clprune.kernels.softmax import SOFTMAX
from clprune.kernels.storage import STORAGE_BITS
from clprune.offline.architectures import Architecture

#: Bytes of a cache line; a load that touches more lines takes as many turns more.
_LINE_BYTES = 128

#: Instructions per column beside multiply-adds and loads, where no compiler has counted them.
_USUAL_OVERHEAD = 7


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One launch of a tile.

    `groups` work-groups of `work_group_size` items; each item walks through `columns` columns of K, of which
    `columns_per_turn` are loaded before any is used. Per column and item: `fmas` multiply-adds. Per column and warp:
    `load_instructions`, `cache_clocks` of the first-level cache (uncoalesced loads take more) and `local_bytes` per
    item of local memory. `staged_columns`: columns between two barriers, 0 without staging.
    `memory_bytes` must come from or go to global memory, `shared_cache_bytes` pass the last cache.
    `streams`: what each turn waits for comes from global memory, not from a cache.
    `registers`: a guess of registers per item, for before the compiler has counted them.
    """

    groups: int
    work_group_size: int
    columns: int
    columns_per_turn: int
    fmas: int
    load_instructions: float
    cache_clocks: float
    local_bytes: int
    local_mem_bytes: int
    staged_columns: int
    memory_bytes: float
    shared_cache_bytes: float
    streams: bool
    registers: int
    other_instructions: int = _USUAL_OVERHEAD


def demand_of(
    kernel: Kernel[Any, Any], tile: Any, operation: Any, workload: Workload, architecture: Architecture
) -> Demand:
    """What `tile` asks for. Raises UsageError for a kernel that is not tuned."""
    if kernel is CONV:
        return conv_demand(tile, operation, workload, architecture)
    if kernel is CONNECTED:
        return connected_demand(tile, operation, workload, architecture)
    raise UsageError(f"kernel {kernel.name!r}: only {CONV.name} and {CONNECTED.name} have tiles worth ranking")


def kept_columns(columns: int, *, tile_m: int, workload: Workload) -> int:
    """Columns that a row block of `tile_m` keeps when every unit keeps `kept_share` of its own, chosen at random."""
    units = (tile_m - math.gcd(tile_m, workload.unit_rows)) / workload.unit_rows + 1
    removed_share: float = (1 - workload.kept_share) ** units
    return max(1, round(columns * (1 - removed_share)))


def load_clocks(architecture: Architecture, *, lanes: int, width: int, stride: int = 1, value_bytes: int = 4) -> float:
    """Clocks of the first-level cache for one load of `width` values per lane, lanes `width * stride` apart.

    Where vectors need alignment (NVIDIA) the load is `width` loads of one value each, and each touches all the lines.
    """
    span_bytes = value_bytes * lanes * width * stride
    lines_clocks = max(1.0, span_bytes / _LINE_BYTES) * _LINE_BYTES / architecture.cache_bytes_per_clock
    values = architecture.warp_size / architecture.cache_bytes_per_clock * 4
    if architecture.has_vector_loads:
        return max(lines_clocks, values * max(1, width * value_bytes // 4))
    return width * max(min(lines_clocks, lanes), values)


def conv_demand(tile: ConvTile, operation: ConvOperation, workload: Workload, architecture: Architecture) -> Demand:
    """Demand of `templates/conv.cl.mako`."""
    problem = operation.problem
    launch = CONV.launch(tile, operation)
    groups = launch.global_size[0] // tile.group_n
    kept = kept_columns(problem.columns, tile_m=tile.tile_m, workload=workload)
    loads = tile.vectors * operation.row_step
    lanes = min(tile.group_n, architecture.warp_size)
    x_clocks = loads * load_clocks(architecture, lanes=lanes, width=tile.vector_width, stride=problem.stride)
    x_instructions = loads * (1 if architecture.has_vector_loads else tile.vector_width)
    weights = _weight_loads(tile, architecture)
    memory, shared = _conv_bytes(tile, operation, kept, groups, architecture)
    return Demand(
        groups=groups,
        work_group_size=launch.work_group_size,
        columns=kept,
        columns_per_turn=tile.k_unroll,
        fmas=accumulators(tile, operation),
        load_instructions=x_instructions + weights.instructions,
        cache_clocks=x_clocks + weights.cache_clocks,
        local_bytes=weights.local_bytes,
        local_mem_bytes=CONV.local_mem_bytes(tile, operation),
        staged_columns=tile.tile_k,
        memory_bytes=memory,
        shared_cache_bytes=shared,
        streams=False,
        registers=_conv_registers(tile, operation),
    )


@dataclass(frozen=True, kw_only=True)
class _WeightLoads:
    """How a warp gets one column's weights and offset."""

    instructions: float
    cache_clocks: float
    local_bytes: int


def _weight_loads(tile: ConvTile, architecture: Architecture) -> _WeightLoads:
    values = tile.tile_m + 1  # the column's offset is one more
    if tile.tile_k:
        return _WeightLoads(instructions=ceil_div(tile.tile_m, 4) + 1, cache_clocks=0.0, local_bytes=4 * values)
    is_uniform = tile.group_m == 1
    if is_uniform and architecture.has_scalar_loads:
        return _WeightLoads(instructions=2, cache_clocks=0.0, local_bytes=0)
    each = load_clocks(architecture, lanes=1, width=1)
    return _WeightLoads(instructions=values, cache_clocks=values * each, local_bytes=0)


def _conv_registers(tile: ConvTile, operation: ConvOperation) -> int:
    loads = tile.vectors * operation.row_step
    values = loads * tile.vector_width * min(tile.k_unroll, 2)
    addresses = 4 if tile.mapping == "flat" else 4 * loads
    return accumulators(tile, operation) + values + tile.tile_m + addresses + 16


def _conv_bytes(
    tile: ConvTile, operation: ConvOperation, kept: int, groups: int, architecture: Architecture
) -> tuple[float, float]:
    """(bytes from and to global memory, bytes through the shared cache)."""
    problem, layout = operation.problem, operation.input
    blocks = problem.groups * ceil_div(problem.group_out_channels, tile.tile_m)
    x_bytes = 4.0 * layout.elements
    y_bytes = 4.0 * operation.output.elements
    weight_bytes = 4.0 * blocks * kept * (tile.tile_m + 1)
    run = tile.group_n * tile.vectors * tile.vector_width * operation.row_step * problem.stride
    plane = min(problem.size * (run + problem.size - 1), run + (problem.size - 1) * (layout.pitch + 1))
    touched = 1 - (1 - kept / problem.columns) ** problem.size  # a row is read when any of its columns is kept
    group_bytes = 4.0 * problem.group_in_channels * plane * touched
    group_bytes += 4.0 * kept * tile.group_m * (tile.tile_m + 1)
    x_passes, weight_passes = _passes(
        m_groups=ceil_div(blocks, tile.group_m),
        groups=groups,
        sweep=tile.sweep,
        x_bytes=x_bytes,
        weight_bytes=weight_bytes,
        cache_bytes=architecture.shared_cache_bytes,
    )
    memory_bytes = x_passes * x_bytes + weight_passes * weight_bytes + y_bytes
    return memory_bytes, groups * group_bytes + y_bytes


def _passes(
    *, m_groups: int, groups: int, sweep: int, x_bytes: float, weight_bytes: float, cache_bytes: float
) -> tuple[int, int]:
    """How often input and weights come from global memory: once where the shared cache keeps them.

    In a sweep the weights of `sweep` groups of row blocks stay while positions go by; the next sweep reads the input
    again. Half of the cache is counted on.
    """
    if x_bytes + weight_bytes <= cache_bytes:
        return 1, 1
    height = min(sweep or m_groups, m_groups)
    x_passes = ceil_div(m_groups, height) if x_bytes > cache_bytes / 2 else 1
    weight_passes = ceil_div(groups, m_groups) if weight_bytes * height / m_groups > cache_bytes / 2 else 1
    return x_passes, weight_passes


def connected_demand(
    tile: ConnectedTile, operation: ConnectedOperation, workload: Workload, architecture: Architecture
) -> Demand:
    """Demand of `templates/connected.cl.mako`."""
    problem = operation.problem
    launch = CONNECTED.launch(tile, operation)
    blocks, image_groups = ceil_div(problem.outputs, tile.tile_m), ceil_div(problem.batch, tile.tile_n)
    kept = kept_columns(problem.columns, tile_m=tile.tile_m, workload=workload)
    lanes = min(tile.group_m, architecture.warp_size)
    rows_of_lanes = architecture.warp_size // lanes
    value_bytes = max(1, STORAGE_BITS[operation.storage] // 8)  # two of 4 bits are loaded together
    weight_clocks = (
        tile.vectors
        * rows_of_lanes
        * load_clocks(architecture, lanes=lanes, width=tile.vector_width, value_bytes=value_bytes)
    )
    broadcasts = tile.tile_n + 1  # one value of x per image, and the column's offset
    broadcast_clocks = broadcasts * load_clocks(architecture, lanes=rows_of_lanes, width=1)
    weight_bytes = float(blocks * kept * (value_bytes * tile.tile_m + 4))
    x_bytes, y_bytes = 4.0 * problem.batch * kept, 4.0 * problem.batch * problem.outputs
    passes = image_groups if weight_bytes > architecture.shared_cache_bytes else 1
    accumulators = tile.tile_n * tile.vectors * tile.vector_width
    vector_instructions = 1 if architecture.has_vector_loads else tile.vector_width
    return Demand(
        groups=blocks * image_groups,
        work_group_size=launch.work_group_size,
        columns=ceil_div(kept, tile.group_k),
        columns_per_turn=tile.k_unroll,
        fmas=accumulators,
        load_instructions=tile.vectors * vector_instructions + broadcasts,
        cache_clocks=weight_clocks + broadcast_clocks,
        local_bytes=0,
        local_mem_bytes=CONNECTED.local_mem_bytes(tile, operation),
        staged_columns=0,
        memory_bytes=passes * weight_bytes + x_bytes + y_bytes,
        shared_cache_bytes=image_groups * weight_bytes + blocks * x_bytes + y_bytes,
        streams=True,
        registers=accumulators
        + (tile.vectors * tile.vector_width + tile.tile_n) * tile.k_unroll
        + 2 * tile.tile_n
        + 20,
    )


def lane_distance(kernel: Kernel[Any, Any], tile: Any, operation: Any) -> int | None:
    """Values between what neighbouring work-items of dimension 0 read from the input (or weights); 1 is coalesced.

    None for a kernel that is not described here.
    """
    if kernel is CONV:
        return int(tile.vector_width * operation.problem.stride)
    if kernel is CONNECTED:
        return int(tile.vector_width)
    if kernel is MAX_POOL:
        return int(tile.vector_width * operation.problem.stride)
    if kernel in (AVERAGE_POOL, SOFTMAX, POINTWISE):
        return 1
    return None
