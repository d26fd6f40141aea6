"""Register tiles of GPU kernels whose inputs and weights go through local memory (`templates/register_tile.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clprune import quirks
from clprune.architecture import Architecture
from clprune.device import DeviceInfo
from clprune.geometry import ceil_div
from clprune.kernels.demand import Demand
from clprune.kernels.tile import Constraint, values
from clprune.source_hash import Generator

#: It comes first where it multiplies at most so many times the columns that tiles of 8 rows keep.
MOST_EXTRA_COLUMNS = 1.5


@dataclass(frozen=True, kw_only=True)
class RegisterTile:
    """What all these kernels' tiles have: a work-item computes `tile_m` rows x `vectors * vector_width` positions, a
    work-group `group_m` by `group_n` of these, from chunks of `tile_k` columns.
    """

    tile_m: int = field(metadata=values(4, 8, 16))
    vectors: int = field(metadata=values(1, 2, 4))
    group_m: int = field(metadata=values(1, 4, 8, 16, cpu=(1,), gpu=(4, 8, 16)))
    group_n: int = field(metadata=values(1, 8, 16, 32, cpu=(1,), gpu=(8, 16, 32)))
    tile_k: int = field(default=8, metadata=values(4, 8, 16))

    @property
    def vector_width(self) -> int:
        """Positions per vector."""
        return 4

    @property
    def stage_width(self) -> int:
        """Positions that a work-item fetches at once: as many as it has of a chunk, up to a vector."""
        return min(4, max(1, self.tile_k * self.staged_positions // self.work_group_size))

    @property
    def work_group_size(self) -> int:
        return self.group_m * self.group_n

    @property
    def rows(self) -> int:
        """Rows of a work-group, which follow one list of kept columns."""
        return self.tile_m * self.group_m

    @property
    def is_smallest(self) -> bool:
        """No tile has fewer rows, of a work-item on its own or of a work-group."""
        return self.rows == (4 if self.work_group_size == 1 else 16)

    @property
    def results(self) -> int:
        """float32 results that a work-item holds in registers."""
        return self.tile_m * self.vectors * self.vector_width

    @property
    def staged_positions(self) -> int:
        """Positions of a work-group, for which every column is staged."""
        return self.group_n * self.vectors * self.vector_width

    @property
    def line(self) -> int:
        """Words of a column of inputs in local memory."""
        return self.staged_positions

    @property
    def shares_evenly(self) -> bool:
        """Every work-item stages equally many weights, and inputs of a chunk."""
        staged, items = self.tile_k * self.staged_positions, self.work_group_size
        return staged % (items * self.stage_width) == 0 and self.tile_k * self.rows % items == 0


def leaves_room(tile: RegisterTile, device: DeviceInfo) -> bool:
    """Whether a default tile suits the device's registers: where they are few, enough warps fit with up to 32 results,
    which large work-groups make up for; elsewhere 64 and smaller groups are better.
    """
    if quirks.has(device, quirks.FEW_REGISTERS):
        return tile.results <= 32
    return tile.results > 32 or tile.work_group_size <= 128


REGISTER_TILE_CONSTRAINTS: tuple[Constraint[Any, Any], ...] = (
    Constraint(
        reason="the accumulators of a work-item exceed the registers of any device",
        holds=lambda t, o: t.results <= 128,
    ),
    Constraint(
        reason="work-groups of several items have 64 to 256 of them",
        holds=lambda t, o: t.work_group_size == 1 or 64 <= t.work_group_size <= 256,
    ),
    Constraint(reason="the work-items do not share the staged values evenly", holds=lambda t, o: t.shares_evenly),
    Constraint(
        reason="the tile has more rows than the layer has output channels per group",
        holds=lambda t, o: t.rows < 2 * o.problem.group_out_channels or t.is_smallest,
    ),
)


def register_tile_variables(tile: RegisterTile) -> dict[str, int]:
    """What `templates/register_tile.mako` needs beside `tile_m`, `group_m`, `group_n`, `tile_k` and `storage`."""
    items, width = tile.work_group_size, tile.staged_positions
    fetched = items * tile.stage_width  # positions of which each work-item fetches some at once
    return {
        "part_count": tile.vectors,
        "items": items,
        "group_rows": tile.rows,
        "run": tile.group_n * tile.vector_width,  # positions of one part
        "width": width,
        "line": tile.line,
        # A work-item stages some positions of every column, or stage_width of them of every few columns.
        "stage_width": tile.stage_width,
        "staged_positions": max(1, width // fetched),
        "column_step": max(1, fetched // width),
        "lanes_per_column": width // tile.stage_width,
        "weight_width": min(4, max(1, tile.rows * tile.tile_k // items)),
    }


#: What generates parts of the sources of all kernels that have such tiles.
REGISTER_TILE_GENERATORS: tuple[Generator, ...] = (
    register_tile_variables,
    RegisterTile.vector_width,
    RegisterTile.stage_width,
    RegisterTile.work_group_size,
    RegisterTile.rows,
    RegisterTile.staged_positions,
    RegisterTile.line,
)


def local_accesses(tile: RegisterTile, warp_size: int) -> tuple[tuple[list[int], int, float], ...]:
    """What a warp wants of local memory: words at which its lanes begin, words of each lane, times per column. Inputs
    and weights that are multiplied, then those that are staged.
    """
    items = tile.work_group_size
    lanes = range(min(warp_size, items))
    weight_width = min(4, max(1, tile.rows * tile.tile_k // items))
    return (
        ([lane % tile.group_n * 4 for lane in lanes], 4, tile.vectors * tile.vector_width / 4),
        ([lane // tile.group_n * tile.tile_m for lane in lanes], 4, tile.tile_m / 4),
        (
            [lane * tile.stage_width for lane in lanes],
            tile.stage_width,
            tile.staged_positions / items / tile.stage_width,
        ),
        ([lane * weight_width for lane in lanes], weight_width, tile.rows / items / weight_width),
    )


def local_mem_bytes(tile: RegisterTile) -> int:
    """Two chunks of inputs and weights."""
    return 2 * 4 * tile.tile_k * (tile.line + tile.rows)


def register_tile_demand(
    tile: RegisterTile,
    architecture: Architecture,
    *,
    groups: int,
    columns: int,
    stride: int,
    memory_bytes: float,
    result_bytes: float,
    is_aligned: bool = False,
) -> Demand:
    """What `groups` work-groups ask for that walk through so many columns each, whole chunks or not.

    `stride`: between the inputs of neighbouring positions. `result_bytes` pass the last cache beside what is staged.
    `is_aligned`: vectors of inputs are one load on every device.
    """
    items, width = tile.work_group_size, tile.stage_width
    inputs, weights = tile.staged_positions / items, tile.rows / items
    lanes = min(items, architecture.warp_size)
    # Lanes of an aligned vector lie as those of so many work-items more do.
    lanes_of_vectors, single = (lanes * width, 1) if is_aligned else (lanes, width)
    cache_clocks = inputs / width * architecture.load_clocks(lanes=lanes_of_vectors, width=single, stride=stride)
    cache_clocks += weights / 4 * architecture.load_clocks(lanes=lanes, width=4)
    chunks = ceil_div(columns, tile.tile_k)
    bytes_per_chunk = 4.0 * tile.tile_k * (tile.staged_positions + tile.rows + 1)
    positions = tile.results // tile.tile_m
    return Demand(
        groups=groups,
        work_group_size=items,
        columns=chunks * tile.tile_k,
        columns_per_turn=tile.tile_k,
        fmas=tile.results,
        load_instructions=2 * (inputs / width + weights / 4) + (tile.tile_m + positions) / 4,
        cache_clocks=cache_clocks,
        local_bytes=4 * (tile.tile_m + positions),
        local_clocks=sum(
            times * architecture.local_clocks(words, width=width)
            for words, width, times in local_accesses(tile, architecture.warp_size)
        ),
        local_mem_bytes=local_mem_bytes(tile),
        staged_columns=0,  # the next chunk is on its way meanwhile
        memory_bytes=memory_bytes,
        shared_cache_bytes=groups * chunks * bytes_per_chunk + result_bytes,
        streams=False,
        registers=tile.results + positions + tile.tile_m + int(tile.tile_k * (inputs + weights)) + 24,
        other_instructions=2,
    )
