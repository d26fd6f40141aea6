"""What tiles ask for, counted by hand on small layers."""

from __future__ import annotations

import dataclasses

import pytest

from clprune.errors import UsageError
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, ConnectedTile, connected_operation
from clprune.kernels.conv import CONV, ConvTile
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.softmax import SOFTMAX
from clprune.kernels.winograd_operation import winograd_operation
from clprune.kernels.winograd_tiled import WINOGRAD_TILED, WinogradTiledTile
from clprune.kernels.workload import Workload
from clprune.offline.architectures import architecture_by_name
from clprune.offline.ranking import demand_of
from tools.offline.survey import lane_distance

NVIDIA, AMD = architecture_by_name("sm_90"), architecture_by_name("gfx906")
DENSE = Workload()
OPERATION = conv_operation(
    ConvProblem.square(batch=1, in_channels=5, in_height=13, in_width=31, out_channels=24, size=3, padding=1)
)
TILE = ConvTile(tile_m=8, vector_width=1, vectors=2, group_n=64, tile_k=16, k_unroll=2)


def test_dense_convolution() -> None:
    demand = CONV.demand(TILE, OPERATION, DENSE, NVIDIA)
    # 3 blocks of 8 rows; 13 rows at a pitch of 32: 12 * 32 + 31 = 415 positions in groups of 128
    assert (demand.groups, demand.work_group_size) == (3 * 4, 64)
    assert (demand.columns, demand.columns_per_turn, demand.fmas) == (45, 2, 16)
    assert (demand.local_bytes, demand.local_mem_bytes, demand.staged_columns) == (36, 16 * 36, 16)
    # two coalesced loads of 32 lanes: a line, a clock each
    assert demand.cache_clocks == 2
    tensors = 4 * (OPERATION.input.elements + OPERATION.output.elements)
    assert demand.memory_bytes == tensors + 4 * 3 * 45 * 9


def test_lanes_apart_touch_more_lines() -> None:
    strided = conv_operation(
        ConvProblem.square(
            batch=1, in_channels=5, in_height=13, in_width=31, out_channels=24, size=3, stride=2, padding=1
        )
    )
    tile = dataclasses.replace(TILE, mapping="rows")
    assert lane_distance(CONV, tile, strided) == 2
    assert CONV.demand(tile, strided, DENSE, NVIDIA).cache_clocks == 4
    wide = dataclasses.replace(tile, vector_width=4, vectors=1)
    assert lane_distance(CONV, wide, OPERATION) == 4
    # NVIDIA: four loads of four lines; AMD: one load of 64 lanes * 16 bytes at 64 bytes a clock
    assert CONV.demand(wide, OPERATION, DENSE, NVIDIA).cache_clocks == 16
    assert CONV.demand(wide, OPERATION, DENSE, AMD).cache_clocks == 16
    assert AMD.load_clocks(lanes=64, width=1) == 4


def test_weights_from_global_memory_are_scalar_on_amd_only() -> None:
    tile = dataclasses.replace(TILE, tile_k=0)
    assert CONV.demand(tile, OPERATION, DENSE, AMD).cache_clocks == 2 * 4
    assert CONV.demand(tile, OPERATION, DENSE, NVIDIA).cache_clocks == 2 + 9
    assert CONV.demand(tile, OPERATION, DENSE, NVIDIA).local_bytes == 0


@pytest.mark.parametrize(
    ("tile_m", "kept"),
    [(8, 25), (4, 25), (1, 25), (16, 44), (32, 68), (12, 44)],  # 100 * (1 - 0.75 ** units touched)
)
def test_tall_tiles_keep_what_any_of_their_units_needs(tile_m: int, kept: int) -> None:
    assert Workload(kept_share=0.25, unit_rows=8).kept_columns(100, tile_m=tile_m) == kept


def test_tiles_that_straddle_units_keep_more() -> None:
    """Six rows of units of eight touch one and a half on average."""
    assert Workload(kept_share=0.25, unit_rows=8).kept_columns(100, tile_m=6) == round(100 * (1 - 0.75**1.5))


def test_input_is_read_again_when_no_cache_holds_it() -> None:
    small_cache = dataclasses.replace(NVIDIA, shared_cache_bytes=4096)
    by_rows = CONV.demand(TILE, OPERATION, DENSE, small_cache)
    by_positions = CONV.demand(dataclasses.replace(TILE, sweep=1), OPERATION, DENSE, small_cache)
    x_bytes, weight_bytes = 4 * OPERATION.input.elements, 4 * 3 * 45 * 9
    assert by_positions.memory_bytes - by_rows.memory_bytes == 2 * x_bytes - 3 * weight_bytes


def test_connected() -> None:
    operation = connected_operation(ConnectedProblem(batch=3, inputs=131, outputs=65))
    tile = ConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=8, tile_n=2, k_unroll=4)
    demand = demand_of(Offer(kernel=CONNECTED, operation=operation), tile, NVIDIA)
    assert (demand.groups, demand.work_group_size) == (5 * 2, 128)
    assert (demand.columns, demand.columns_per_turn, demand.fmas) == (17, 4, 2)
    # a warp is two rows of 16 lanes: two loads of weights; broadcasts of an offset and two values
    assert demand.cache_clocks == 2 + 3
    assert demand.streams
    assert demand.memory_bytes == 4 * (5 * 131 * 17 + 3 * 131 + 3 * 65)


def test_tiled_winograd_convolution() -> None:
    """Its product: 36 matrices of 24 rows by 32 tiles, which lie side by side."""
    operation = winograd_operation(OPERATION, output_tile=4)
    tile = WinogradTiledTile(tile_m=4, vectors=2, group_m=8, group_n=8, tile_k=4)
    demand = demand_of(Offer(kernel=WINOGRAD_TILED, operation=operation), tile, NVIDIA)
    assert (demand.groups, demand.work_group_size, demand.local_mem_bytes) == (36, 64, 2 * 4 * 4 * (64 + 32))
    assert (demand.columns, demand.columns_per_turn, demand.fmas) == (8, 4, 32)  # 5 channels in chunks of four
    # Of a column each work-item loads a quarter of a vector of inputs, which 32 do in four lines, and half a weight.
    assert demand.cache_clocks == 4 / 4 + 0.5 / 4 * 16
    assert demand.memory_bytes == 4 * 36 * 5 * 24
    assert demand.shared_cache_bytes == 36 * 2 * 4 * 4 * (64 + 32 + 1) + 4 * 36 * (32 * 64 + 16)
    small_cache = dataclasses.replace(NVIDIA, shared_cache_bytes=4096)
    scratch = sum(part.size_bytes for part in WINOGRAD_TILED.scratch(tile, operation).values())
    assert WINOGRAD_TILED.demand(tile, operation, DENSE, small_cache).memory_bytes == demand.memory_bytes + scratch


def test_other_kernels_are_not_ranked() -> None:
    operation = SOFTMAX.sample_operations()[0]
    with pytest.raises(UsageError, match="'softmax': it does not say what its tiles ask of a GPU"):
        demand_of(Offer(kernel=SOFTMAX, operation=operation), SOFTMAX.safe_tile(operation), NVIDIA)


def test_half_precision_weights_are_half_the_bytes() -> None:
    problem = ConnectedProblem(batch=1, inputs=128, outputs=64)
    tile = ConnectedTile(vector_width=1, vectors=1, group_m=16, group_k=8, k_unroll=4)
    full, half = (
        demand_of(Offer(kernel=CONNECTED, operation=connected_operation(problem, storage=storage)), tile, NVIDIA)
        for storage in ("float32", "float16")
    )
    assert full.memory_bytes - half.memory_bytes == 2 * 128 * 64
    assert full.cache_clocks == half.cache_clocks  # one line per row of lanes in either case
