"""The sparse convolution of work-groups that share inputs: right in odd shapes, offered to GPUs, untuned tiles."""

from __future__ import annotations

import dataclasses

import pytest

from clprune.candidate import bind_case, verify
from clprune.geometry import ConvProblem
from clprune.kernels.base import Rank, Request
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.sparse_conv_tiled import SPARSE_CONV_TILED, SparseConvTiledTile
from clprune.kernels.workload import WeightForm, Workload
from clprune.offline.architectures import architecture_by_name
from clprune.offline.architectures import imaginary_device as card
from clprune.opencl import Session
from tests.imaginary import imaginary_device

FEW = Workload(seed=1, kept_share=0.1, unit_rows=1)
WORKLOADS = (FEW, Workload(seed=2), Workload(seed=3, kept_share=0.0), Workload(seed=4, kept_share=0.5, unit_rows=3))
TILE = SparseConvTiledTile(
    block_rows=4, tile_columns=8, tile_rows=4, group_m=2, group_n=32, tile_k=4, k_unroll=4
)  # four pieces


def conv(
    filters: int, height: int, width: int, *, channels: int = 5, storage: str = "float32", **more: int
) -> ConvOperation:
    sizes = {"batch": 1, "size": 3, "padding": 1, **more}
    problem = ConvProblem.square(**sizes, in_channels=channels, in_height=height, in_width=width, out_channels=filters)
    return conv_operation(problem, activation="leaky", storage=storage)


def pooled(operation: ConvOperation) -> ConvOperation:
    return conv_operation(operation.problem, activation="leaky", pooled=True)


def changed(**values: int) -> SparseConvTiledTile:
    return dataclasses.replace(TILE, **values)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("tile", "operation"),
    [
        (TILE, conv(9, 13, 31)),
        (changed(group_n=64, tile_columns=32, block_rows=8), conv(33, 7, 33, channels=3)),
        (changed(tile_rows=7, tile_columns=1), conv(17, 7, 3, batch=3)),
        (changed(columns=2), conv(9, 13, 31, batch=2)),
        (TILE, pooled(conv(9, 14, 34, batch=2))),
        (changed(columns=2, tile_columns=2, group_m=4, block_rows=2), pooled(conv(9, 4, 6))),
        (changed(tile_k=8), conv(9, 13, 31, channels=17, size=1, padding=0)),
        (changed(tile_k=1, k_unroll=1), conv(5, 9, 9, size=5, padding=2)),
        (TILE, conv(9, 13, 31, storage="int8")),
        (TILE, conv(9, 13, 31, storage="codebook4")),
        (TILE, conv(9, 13, 31, storage="float16")),
    ],
    ids=[
        *("odd", "two pieces of 32", "a column each", "two columns", "pooled", "pooled in one item", "1x1", "5x5"),
        *("int8", "codebook4", "float16"),
    ],
)
def test_right(
    device_context: Session, tile: SparseConvTiledTile, operation: ConvOperation, workload: Workload
) -> None:
    SPARSE_CONV_TILED.check(tile, operation, device_context.info)
    case = SPARSE_CONV_TILED.case(tile, operation, SPARSE_CONV_TILED.sample(operation, workload))
    verify(device_context, bind_case(device_context, SPARSE_CONV_TILED, tile, operation, case))


def request(workload: Workload = FEW, *, channels: int = 64, **facts: object) -> Request:
    operation = conv(64, 28, 28, channels=channels)
    device = imaginary_device(local_mem_bytes=49152, **facts)
    return Request(operation=operation, form=WeightForm(workload=workload), device=device, max_error=1e-3)


def test_comes_first_of_the_sparse_ones_on_gpus() -> None:
    (offer,), (other,) = SPARSE_CONV_TILED.offers(request()), SPARSE_CONV.offers(request())
    assert (offer.rank, other.rank) == (Rank.PREFERRED, Rank.PREFERRED + 1)
    assert SPARSE_CONV_TILED.offers(request(Workload())) == ()
    assert SPARSE_CONV_TILED.offers(request(type="cpu", native_vector_width_float=8)) == ()
    assert SPARSE_CONV_TILED.offers(request(local_mem_is_dedicated=False)) == ()
    assert SPARSE_CONV_TILED.offers(request(max_work_group_size=1)) == ()
    strided = dataclasses.replace(request(), operation=conv(64, 28, 28, stride=2, channels=64))
    assert SPARSE_CONV_TILED.offers(strided) == ()


@pytest.mark.parametrize("name", ["sm_80", "sm_90", "gfx90a", "gfx1100"])
def test_untuned_tiles_share_inputs_as_far_as_the_card_stays_full(name: str) -> None:
    architecture = architecture_by_name(name)
    device = card(architecture)
    large = SPARSE_CONV_TILED.default_tile(conv(256, 56, 56, channels=256, batch=8), device)
    assert (large.work_group_size, large.results) == (256, 32 if large.tile_rows != 7 else 28)
    small = conv(512, 14, 14, channels=512)
    tile = SPARSE_CONV_TILED.default_tile(small, device)
    assert tile.work_group_size < 256
    assert SPARSE_CONV_TILED.launch(tile, small).global_size[0] // tile.group_n >= device.compute_units


def test_what_a_gpu_is_asked_for() -> None:
    """13 rows are four tiles of an image, 31 columns four of a row: one work-group each for eight channels."""
    demand = SPARSE_CONV_TILED.demand(TILE, conv(9, 13, 31), FEW, architecture_by_name("sm_90"))
    kept = round(45 * 0.1)
    assert (demand.groups, demand.work_group_size) == (2 * 4, 64)
    assert (demand.columns, demand.columns_per_turn, demand.fmas) == (4 * kept, 4, 4)
    assert demand.local_mem_bytes == SPARSE_CONV_TILED.local_mem_bytes(TILE, conv(9, 13, 31))
    staged = 4 * 6 * 10 * 5 / 64 / (4 * kept)
    assert demand.local_clocks == pytest.approx(4 + staged)


def test_pieces_meet_in_no_bank() -> None:
    """Lanes of all pieces of a warp read 32 different banks, whatever the columns of a piece."""
    architecture = architecture_by_name("sm_90")
    for columns in (1, 2, 4, 8, 16):
        for tile_k in (1, 4, 8):
            plane = (TILE.tile_rows + 2) * (columns + 2)
            distance = tile_k * plane + (columns - tile_k * plane) % 32
            source = SPARSE_CONV_TILED.source(changed(tile_columns=columns, tile_k=tile_k), conv(9, 13, 31, channels=9))
            assert f"staged + piece * {distance} + in_piece" in source
            words = [lane // columns * distance + lane % columns for lane in range(32)]
            assert architecture.local_clocks(words, width=1) == 1
