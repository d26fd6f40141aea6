"""The tiled product of connected layers: right for odd sizes, offered for many images on GPUs, untuned tiles, banks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clprune.candidate import bind_case, verify
from clprune.geometry import ConnectedProblem, Shape
from clprune.kernels.base import Rank, Request
from clprune.kernels.connected import ConnectedOperation, connected_operation
from clprune.kernels.connected_tiled import CONNECTED_TILED, ConnectedTiledTile
from clprune.kernels.samples import coded_weights
from clprune.kernels.workload import WeightForm, Workload
from clprune.layout import padded_layout
from clprune.offline.architectures import architecture_by_name
from clprune.offline.architectures import imaginary_device as card
from clprune.opencl import Session
from tests.imaginary import imaginary_device

WORKLOADS = (Workload(seed=1), Workload(seed=2, kept_share=0.25), Workload(seed=3, kept_share=0.0))
SMALL = ConnectedTiledTile(tile_m=4, vectors=1, group_m=16, group_n=4)
WIDE = ConnectedTiledTile(tile_m=8, vectors=2, group_m=16, group_n=8)
SQUARE = dataclasses.replace(WIDE, group_n=16)  # the only one of 64 sums that takes integers


def layer(images: int, inputs: int, outputs: int, *, storage: str = "float32") -> ConnectedOperation:
    problem = ConnectedProblem(batch=images, inputs=inputs, outputs=outputs)
    return connected_operation(problem, activation="leaky", storage=storage)


def padded(images: int) -> ConnectedOperation:
    """Inputs in planes with a border, outputs apart from each other."""
    shape = Shape(channels=3, height=5, width=7)
    return ConnectedOperation(
        problem=ConnectedProblem(batch=images, inputs=shape.elements, outputs=67),
        input=padded_layout(batch=images, shape=shape, pitch=9, padding=1),
        output=padded_layout(batch=images, shape=Shape(channels=67, height=1, width=1), pitch=2, padding=1),
        activation="relu",
    )


def split(tile: ConnectedTiledTile, splits: int) -> ConnectedTiledTile:
    return dataclasses.replace(tile, splits=splits)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("tile", "operation"),
    [
        (SMALL, layer(17, 31, 33)),
        (WIDE, layer(33, 65, 131)),
        (dataclasses.replace(SMALL, tile_k=16), layer(16, 33, 67)),
        (dataclasses.replace(SMALL, tile_k=4, group_n=8), layer(19, 9, 67)),
        (ConnectedTiledTile(tile_m=8, vectors=2, group_m=1, group_n=1), layer(7, 31, 9)),
        (split(SMALL, 2), layer(17, 67, 33)),
        (split(SQUARE, 8), layer(67, 300, 67, storage="int8")),
        (SQUARE, layer(67, 65, 67, storage="int8")),
        (SQUARE, layer(67, 65, 67, storage="float16")),
        (dataclasses.replace(SMALL, group_m=8, group_n=16, tile_k=4), layer(35, 9, 67, storage="float16")),
        (dataclasses.replace(WIDE, tile_k=4), layer(33, 65, 67)),
        (SMALL, padded(19)),
    ],
    ids=["odd", "two row groups", "16 columns", "4 columns", "one item", "two splits", "int8, 8 splits", "int8",
         "float16", "float16 one by one", "few columns", "padded"],
)  # fmt: skip
def test_right(
    device_context: Session, tile: ConnectedTiledTile, operation: ConnectedOperation, workload: Workload
) -> None:
    CONNECTED_TILED.check(tile, operation, device_context.info)
    case = CONNECTED_TILED.case(tile, operation, CONNECTED_TILED.sample(operation, workload))
    verify(device_context, bind_case(device_context, CONNECTED_TILED, tile, operation, case))


def test_one_list_for_the_rows_of_a_work_group() -> None:
    """Of rows 0 to 63, in whole chunks; entries for the two chunks that are fetched ahead follow the last list."""
    matrix = np.zeros((65, 27), np.float32)
    matrix[0, 3], matrix[63, 20], matrix[64, 26] = 1, 2, 3
    weights = coded_weights(matrix, bias=np.zeros(65), storage="float32")
    packed = CONNECTED_TILED.pack(SMALL, layer(17, 27, 65), weights=weights)
    assert packed.blocks[:, :3].tolist() == [[0, 8, 0]] * 16 + [[8, 8, 512]] * 16
    assert packed.blocks[14:18, 4].tolist() == [4, 4, 1, 0]
    assert packed.offsets.tolist() == [3, *[20] * 7, *[26] * 8, *[0] * 16]


def request(
    images: int = 64, workload: Workload = WORKLOADS[0], *, storage: str = "float32", **facts: object
) -> Request:
    operation = layer(images, 512, 1000, storage=storage)
    return Request(
        operation=operation, form=WeightForm(workload=workload), device=imaginary_device(**facts), max_error=1e-3
    )


def test_offered_for_many_images_on_gpus() -> None:
    (offer,) = CONNECTED_TILED.offers(request())
    assert offer.rank < Rank.USUAL
    assert CONNECTED_TILED.offers(request(15)) == ()
    assert CONNECTED_TILED.offers(request(type="cpu", native_vector_width_float=8)) == ()
    assert CONNECTED_TILED.offers(request(local_mem_is_dedicated=False)) == ()
    assert CONNECTED_TILED.offers(request(max_work_group_size=1)) == ()
    assert CONNECTED_TILED.offers(request(storage="codebook4")) == ()


def test_comes_late_where_its_rows_are_not_removed_together() -> None:
    (fine,) = CONNECTED_TILED.offers(request(workload=Workload(kept_share=0.25, unit_rows=8)))
    (coarse,) = CONNECTED_TILED.offers(request(workload=Workload(kept_share=0.25, unit_rows=64)))
    assert (fine.rank, fine.is_likely) == (Rank.DOUBTFUL, False)
    assert (coarse.rank, coarse.is_likely) == (Rank.SPECIAL + 5, True)
    assert coarse.default_tile(imaginary_device()).rows == 64
    assert CONNECTED_TILED.default_tile(coarse.operation, imaginary_device()).rows > 64


@pytest.mark.parametrize("name", ["sm_80", "sm_90", "gfx90a", "gfx1100"])
def test_default_tile_fills_the_card(name: str) -> None:
    """4096 rows of 64 images are too few work-groups without sharing out columns; of 2048 images they are not."""
    device = card(architecture_by_name(name))
    operation = layer(64, 25088, 4096)
    tile = CONNECTED_TILED.default_tile(operation, device)
    assert (tile.staged_positions, tile.results) == (64, 64)
    groups = np.prod(CONNECTED_TILED.launch(tile, operation).global_size) // tile.work_group_size
    assert tile.splits > 1
    assert groups / (-(-groups // device.compute_units) * device.compute_units) >= 0.8
    assert CONNECTED_TILED.default_tile(layer(8192, 4096, 4096), device).splits == 1
    assert CONNECTED_TILED.default_tile(layer(16, 25088, 4096), device).staged_positions == 16


def test_columns_are_shared_out_only_where_there_are_many() -> None:
    reason = CONNECTED_TILED.rejection(split(SMALL, 4), layer(17, 127, 33), imaginary_device())
    assert reason == "columns are shared out where there are many"


def test_coded_weights_beside_many_sums_are_of_long_chunks() -> None:
    """What else there is spilled on some architecture; so did two vectors of integers each."""
    device = card(architecture_by_name("sm_90"))
    short = dataclasses.replace(WIDE, tile_k=4)
    for tile, storage in ((short, "float16"), (short, "int8"), (WIDE, "int8")):
        reason = CONNECTED_TILED.rejection(tile, layer(64, 512, 512, storage=storage), device)
        assert reason is not None and "no registers to decode" in reason
        assert CONNECTED_TILED.rejection(tile, layer(64, 512, 512), device) is None
    assert CONNECTED_TILED.rejection(SQUARE, layer(128, 512, 512, storage="int8"), device) is None
    sums = {
        storage: CONNECTED_TILED.default_tile(layer(64, 25088, 4096, storage=storage), device).results
        for storage in ("float32", "float16", "int8")
    }
    assert sums["int8"] < sums["float16"] == sums["float32"] == 64


@pytest.mark.parametrize("tile", CONNECTED_TILED.gpu_tiles, ids=str)
def test_what_is_staged_meets_in_no_bank(tile: ConnectedTiledTile) -> None:
    """Neighbouring work-items store vectors of a few images of neighbouring columns."""
    for name in ("sm_90", "gfx90a"):
        architecture = architecture_by_name(name)
        lanes = range(min(architecture.warp_size, tile.work_group_size))
        words = [lane % tile.tile_k * tile.line + lane // tile.tile_k * tile.stage_width for lane in lanes]
        parts = [words[first : first + 32 // tile.stage_width] for first in lanes[:: 32 // tile.stage_width]]
        for part in parts:
            assert architecture.bank_conflicts(part, width=tile.stage_width) == 0
    assert tile.line % 4 == 0


def test_what_a_gpu_is_asked_for() -> None:
    demand = CONNECTED_TILED.demand(split(WIDE, 2), layer(65, 300, 131), Workload(), architecture_by_name("sm_90"))
    assert (demand.groups, demand.work_group_size) == (2 * 2 * 2, 128)
    assert (demand.columns, demand.columns_per_turn, demand.fmas) == (19 * 8, 8, 64)
    assert demand.local_mem_bytes == 2 * 4 * 8 * (68 + 128)
