"""Which of its own tiles a kernel takes untuned: what stays in the registers that the device has."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem, Shape
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.conv import CONV, ConvTile
from clprune.kernels.conv_channels import CONV_CHANNELS
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.pointwise import POINTWISE, PointwiseOperation
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_fused import WINOGRAD_FUSED
from clprune.kernels.winograd_operation import WinogradOperation, winograd_operation
from clprune.kernels.workload import Workload
from clprune.layout import contiguous_layout
from tests.imaginary import imaginary_device

AVX2 = imaginary_device(type="cpu", native_vector_width_float=8, local_mem_is_dedicated=False, compute_units=4)
AVX512 = imaginary_device(type="cpu", native_vector_width_float=16, local_mem_is_dedicated=False, compute_units=4)


def problem(side: int, *, channels: int = 64, stride: int = 1) -> ConvProblem:
    return ConvProblem.square(
        batch=1, in_channels=channels, in_height=side, in_width=side, out_channels=64, size=3, stride=stride, padding=1
    )


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("side", [7, 8, 14, 28, 56, 224])
def test_results_stay_in_registers(side: int, pooled: bool) -> None:
    """12 vectors of AVX2's 16 registers, at least 16 of AVX-512's 32 where rows are long enough."""
    if pooled and side % 2:
        return
    operation = conv_operation(problem(side), pooled=pooled)
    narrow = CONV.default_tile(operation, AVX2)
    assert 4 * 8 <= CONV.held_values(narrow, operation) <= 13 * 8
    wide = CONV.default_tile(operation, AVX512)
    assert CONV.held_values(wide, operation) <= 29 * 16
    if side >= 14:
        assert CONV.held_values(wide, operation) >= 16 * 16
        assert CONV.held_values(narrow, operation) == 12 * 8


def test_the_tile_that_reaches_most_of_the_peak_with_16_registers() -> None:
    tile = CONV.default_tile(conv_operation(problem(56)), AVX2)
    assert tile == ConvTile(tile_m=6, vector_width=16, vectors=1, turns=4, prefetch=48)


@pytest.mark.parametrize(("side", "expected"), [(56, (64, 4)), (26, (16, 4)), (1, (1, 1))])
def test_pointwise_work_groups_are_few_and_full(side: int, expected: tuple[int, int]) -> None:
    layout = contiguous_layout(batch=1, shape=Shape(channels=64, height=side, width=side))
    tile = POINTWISE.default_tile(PointwiseOperation(input=layout, output=layout), AVX2)
    assert (tile.group_n, tile.group_rows) == expected


@pytest.mark.parametrize("device", [AVX2, AVX512])
def test_layers_of_few_columns_take_many_row_blocks_together(device: DeviceInfo) -> None:
    """As long as that leaves work for all compute units, and not on GPUs."""

    def default(device: DeviceInfo, *, channels: int = 4) -> ConvTile:
        return CONV.default_tile(conv_operation(problem(56, channels=channels)), device)

    few, alone = default(device), default(dataclasses.replace(device, compute_units=1000))
    assert few.chunk == 288
    assert few.sweep > 1
    assert (few.tile_m, few.vector_width, few.vectors, few.mapping) == (
        *(alone.tile_m, alone.vector_width, alone.vectors, alone.mapping),
    )
    assert alone.chunk == default(device, channels=64).chunk == default(imaginary_device()).chunk == 0


def test_rows_of_a_tile_do_not_cut_units_in_two() -> None:
    """Of units of 8 rows tiles of 4 skip all; tiles of 6 keep 35 % of the columns where 25 % are left."""
    operation = conv_operation(problem(56))

    def rows(unit_rows: int, device: DeviceInfo, kept_share: float = 0.25) -> int:
        workload = Workload(kept_share=kept_share, unit_rows=unit_rows)
        return int(Offer(kernel=CONV, operation=operation, workload=workload).default_tile(device).tile_m)

    assert [rows(unit_rows, AVX2) for unit_rows in (8, 6, 12, 16)] == [4, 6, 6, 4]
    assert rows(8, AVX2, kept_share=1.0) == 6
    assert [rows(unit_rows, AVX512) for unit_rows in (8, 4, 16)] == [8, 8, 8]


@pytest.mark.parametrize("unit_rows", [8, 16, 32, 48, 64])
@pytest.mark.parametrize("side", [7, 8, 14])
def test_channels_fill_the_vectors_that_there_are(side: int, unit_rows: int) -> None:
    """Also where units are as tall as tiles of 16 lanes."""
    workload = Workload(kept_share=0.25, unit_rows=unit_rows)
    operation = conv_operation(dataclasses.replace(problem(side), out_channels=96))  # of which the default takes 24
    offer = Offer(kernel=CONV_CHANNELS, operation=operation, workload=workload)
    assert offer.default_tile(AVX2).vector_width == 8
    assert all(tile.vector_width == 8 for tile in CONV_CHANNELS.ranked_tiles(offer.operation, AVX2))


@pytest.mark.parametrize("kernel", [WINOGRAD, WINOGRAD_FUSED])
def test_transformed_results_stay_in_registers(kernel: Kernel[Any, Any]) -> None:
    for side in (14, 28, 56):
        operation = transformed(side)
        assert kernel.held_values(kernel.default_tile(operation, AVX2), operation) <= 13 * 8
        assert kernel.held_values(kernel.default_tile(operation, AVX512), operation) >= 8 * 16


def test_no_core_waits_for_the_pass_of_another() -> None:
    """14x14 are 16 tiles of 4x4: one vector of 8 lanes for each of two cores, two for one."""
    for compute_units, expected in ((1, (2, 1)), (2, (1, 2))):
        device = dataclasses.replace(AVX2, compute_units=compute_units)
        tile = WINOGRAD_FUSED.default_tile(transformed(14), device)
        assert (tile.vectors, tile.groups) == expected


def test_no_work_for_tiles_that_are_not_there() -> None:
    """14x14 are 16 tiles of 4x4: one vector of AVX-512."""
    operation = transformed(14)
    for device in (AVX2, AVX512):
        tile = WINOGRAD_FUSED.default_tile(operation, device)
        assert tile.passes(operation) * tile.vectors * tile.lanes == 16


def test_tiles_of_other_devices_are_spread_over_this_one() -> None:
    operation = transformed(56)
    tile = WINOGRAD_FUSED.default_tile(operation, AVX2)
    assert tile.groups == 4
    many = imaginary_device(type="cpu", native_vector_width_float=8, compute_units=16)
    assert WINOGRAD_FUSED.spread(tile, operation, many).groups == 8  # 13 passes for 16 units
    assert CONV.spread(ConvTile(tile_m=8, vector_width=16, vectors=3), conv_operation(problem(56)), many).tile_m == 8


def transformed(side: int) -> WinogradOperation:
    return winograd_operation(conv_operation(problem(side)), output_tile=4)
