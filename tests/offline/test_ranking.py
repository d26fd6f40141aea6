"""The model's properties: more of anything that costs is never faster, more of anything that helps is never slower."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clprune.architecture import Architecture
from clprune.errors import ConfigurationRejected
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, connected_operation
from clprune.kernels.conv import CONV, ConvTile
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.demand import Demand
from clprune.kernels.workload import Workload
from clprune.offline import ranking
from clprune.offline.architectures import ARCHITECTURES, architecture_by_name
from clprune.offline.ranking import Ranked, demand_of, estimate, preselect, rank
from clprune.offline.report import InnerLoop, Report
from tests.offline.fakes import FakeCompiler

NVIDIA = architecture_by_name("sm_90")
LAYER = conv_operation(
    ConvProblem.square(batch=1, in_channels=64, in_height=28, in_width=28, out_channels=64, size=3, padding=1)
)
CONNECTED_LAYER = connected_operation(ConnectedProblem(batch=1, inputs=4096, outputs=4096))
DEMAND = Demand(
    groups=1000,
    work_group_size=128,
    columns=576,
    columns_per_turn=2,
    fmas=32,
    load_instructions=8,
    cache_clocks=4,
    local_bytes=36,
    local_mem_bytes=4096,
    staged_columns=32,
    memory_bytes=1e6,
    shared_cache_bytes=1e7,
    streams=False,
    registers=64,
)
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)


def time_ms(demand: Demand, architecture: Architecture = NVIDIA, **facts: Any) -> float:
    return estimate(architecture, dataclasses.replace(demand, **facts)).time_ms


@pytest.mark.sweep
@each_architecture
@pytest.mark.parametrize(
    "cost",
    ["groups", "columns", "fmas", "load_instructions", "cache_clocks", "local_bytes", "local_mem_bytes", "registers",
     "memory_bytes", "shared_cache_bytes", "other_instructions"],
)  # fmt: skip
@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1, 4), groups=st.integers(1, 5000))
def test_more_of_what_costs_is_never_faster(
    *, architecture: Architecture, cost: str, factor: float, groups: int
) -> None:
    demand = dataclasses.replace(DEMAND, groups=groups)
    more = type(getattr(demand, cost))(getattr(demand, cost) * factor)
    assert time_ms(demand, architecture) <= time_ms(demand, architecture, **{cost: more}) * (1 + 1e-9)


@pytest.mark.sweep
@each_architecture
@settings(max_examples=20, deadline=None)
@given(groups=st.integers(1, 5000), unroll=st.integers(2, 8))
def test_more_of_what_helps_is_never_slower(*, architecture: Architecture, groups: int, unroll: int) -> None:
    demand = dataclasses.replace(DEMAND, groups=groups, columns_per_turn=1)
    plain = time_ms(demand, architecture)
    assert time_ms(demand, architecture, columns_per_turn=unroll) <= plain
    assert time_ms(demand, architecture, staged_columns=2 * demand.staged_columns) <= plain
    for better in ("compute_units", "clock_mhz", "global_bytes_per_s", "registers_per_scheduler"):
        improved = dataclasses.replace(architecture, **{better: 2 * getattr(architecture, better)})
        assert estimate(improved, demand).time_ms <= plain, better


def test_reading_from_memory_waits_longer_than_from_a_cache() -> None:
    assert time_ms(DEMAND, streams=True, groups=132) > time_ms(DEMAND, groups=132)


def test_one_work_group_more_than_there_are_units_takes_another_turn() -> None:
    """Wave quantisation: the 133rd work-group on 132 units is paid like a second one on all of them."""
    assert time_ms(DEMAND, groups=1) == pytest.approx(time_ms(DEMAND, groups=132), rel=0.01)
    assert time_ms(DEMAND, groups=133) == pytest.approx(time_ms(DEMAND, groups=264), rel=0.01)
    assert time_ms(DEMAND, groups=133) > 1.1 * time_ms(DEMAND, groups=132)


def test_never_faster_than_the_card() -> None:
    for architecture in ARCHITECTURES:
        flops = 2.0 * DEMAND.fmas * DEMAND.columns * DEMAND.groups * DEMAND.work_group_size
        peak = 2.0 * architecture.fma_lanes * architecture.compute_units * architecture.clock_hz
        assert time_ms(DEMAND, architecture) * 1e-3 >= flops / peak
        assert time_ms(DEMAND, architecture) * 1e-3 >= DEMAND.memory_bytes / architecture.global_bytes_per_s


@pytest.mark.parametrize(
    ("facts", "bound"),
    [
        ({"groups": 132}, ranking.LATENCY),
        ({"groups": 50000, "other_instructions": 200}, ranking.ISSUE),
        ({"groups": 50000, "cache_clocks": 64}, ranking.LOADS),
        ({"memory_bytes": 1e11}, ranking.MEMORY),
        ({"shared_cache_bytes": 1e11}, ranking.SHARED_CACHE),
    ],
)
def test_says_what_bounds_a_tile(facts: dict[str, Any], bound: str) -> None:
    assert estimate(NVIDIA, dataclasses.replace(DEMAND, **facts)).bound == bound


def test_multiply_adds_bound_where_units_issue_more_than_they_compute() -> None:
    demand = dataclasses.replace(DEMAND, groups=50000, fmas=96)
    assert estimate(architecture_by_name("sm_80"), demand).bound == ranking.MULTIPLY_ADDS


def test_share_of_peak_is_what_the_slowest_resource_leaves() -> None:
    """132 units with three work-groups of four warps each: a multiply-add of every lane per clock and scheduler."""
    demand = dataclasses.replace(DEMAND, groups=396, cache_clocks=1, local_clocks=2)
    found = estimate(NVIDIA, demand)
    multiply_adds = float(demand.groups * demand.work_group_size * demand.columns * demand.fmas)
    assert found.limit == ranking.ISSUE
    issued = demand.fmas + demand.load_instructions + demand.other_instructions
    assert found.share_of_peak(NVIDIA, multiply_adds) == pytest.approx(demand.fmas / issued)
    assert found.limits["local memory and first-level cache"] == pytest.approx(3 * 4 * 3 * 576 / NVIDIA.clock_hz * 1e3)
    half = dataclasses.replace(demand, groups=397)
    assert estimate(NVIDIA, half).share_of_peak(NVIDIA, multiply_adds) == pytest.approx(0.75 * demand.fmas / issued)


def test_what_fits_nowhere_is_rejected() -> None:
    with pytest.raises(ConfigurationRejected, match="no work-group fits on a compute unit of sm_90: local memory"):
        estimate(NVIDIA, dataclasses.replace(DEMAND, local_mem_bytes=64 * 1024))


def test_the_compilers_figures_replace_guesses() -> None:
    loop = InnerLoop(fmas=64, fma_instructions=64, global_loads=8, local_loads=6, local_bytes=72, other=14)
    report = Report(registers=128, scalar_registers=0, local_mem_bytes=4096, spill_bytes=0, scratch_bytes=0, loop=loop)
    found = estimate(NVIDIA, DEMAND, report)
    assert found.occupancy.groups == 4
    same = dataclasses.replace(DEMAND, registers=128, fmas=32, load_instructions=7, other_instructions=7)
    assert found.time_ms == pytest.approx(time_ms(same))
    packed = dataclasses.replace(report, loop=dataclasses.replace(loop, fma_instructions=32))
    assert estimate(NVIDIA, DEMAND, packed).time_ms < found.time_ms


@pytest.mark.sweep
@each_architecture
def test_preselected_tiles_are_valid_different_and_sorted(architecture: Architecture) -> None:
    check_preselected(architecture, Offer(kernel=CONNECTED, operation=CONNECTED_LAYER))


def test_preselected_tiles_of_a_large_space() -> None:
    check_preselected(NVIDIA, Offer(kernel=CONV, operation=LAYER))


def check_preselected(architecture: Architecture, offer: Offer) -> None:
    found = ranking.preselect(architecture, offer)[:5]
    assert len({item.tile for item in found}) == 5
    times = [item.estimate.time_ms for item in found]
    assert times == sorted(times)
    for item in found:
        assert item.report is None
        assert 64 <= item.tile.work_group_size <= 256


@pytest.mark.sweep
def test_pruned_layers_want_tiles_that_divide_the_unit() -> None:
    operation = CONNECTED_LAYER
    dense = preselect(NVIDIA, Offer(kernel=CONNECTED, operation=operation), count=1)[0]
    workload = Workload(kept_share=0.2, unit_rows=16)
    pruned = preselect(NVIDIA, Offer(kernel=CONNECTED, operation=operation, workload=workload), count=1)[0]
    assert pruned.tile.tile_m <= dense.tile.tile_m
    assert pruned.estimate.time_ms < dense.estimate.time_ms


def test_a_tile_that_spills_is_left_out() -> None:
    compiler = FakeCompiler(NVIDIA)
    best = rank(compiler, Offer(kernel=CONV, operation=LAYER))[0].tile
    compiler = FakeCompiler(NVIDIA, spilling={best})
    tiles = [item.tile for item in rank(compiler, Offer(kernel=CONV, operation=LAYER))]
    assert best not in tiles
    assert set(CONV.gpu_tiles) & set(tiles)
    with pytest.raises(ConfigurationRejected, match="every tile spills"):
        rank(FakeCompiler(NVIDIA, spilling=None), Offer(kernel=CONV, operation=LAYER))


def test_uncoalesced_tiles_rank_behind_their_coalesced_twins() -> None:
    def found(tile: ConvTile) -> Ranked:
        demand = demand_of(Offer(kernel=CONV, operation=LAYER), tile, NVIDIA)
        return Ranked(tile=tile, estimate=estimate(NVIDIA, demand), report=None)

    twin = ConvTile(tile_m=8, vector_width=1, vectors=4, group_n=64, tile_k=32)
    apart = dataclasses.replace(twin, vector_width=4, vectors=1)
    assert found(apart).estimate.time_ms > found(twin).estimate.time_ms
