"""What one launch of a tile asks of a GPU: work-groups, columns, loads and bytes, counted from a template's loops.

All counts are per work-group, per warp or per column of K as their names say; nothing is measured. `clprune.offline`
turns them into time.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Instructions per column beside multiply-adds and loads, where no compiler has counted them.
_USUAL_OVERHEAD = 7


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One launch of a tile.

    `groups` work-groups of `work_group_size` items; each item walks through `columns` columns of K, of which
    `columns_per_turn` are loaded before any is used. Per column and item: `fmas` multiply-adds. Per column and warp:
    `load_instructions`, `cache_clocks` of the first-level cache (uncoalesced loads take more) and `local_bytes` per
    item of local memory; `local_clocks` of it, loads and stores, where a kernel has worked out which banks they meet,
    else 0. `staged_columns`: columns between two barriers, 0 without staging.
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
    local_clocks: float = 0.0
