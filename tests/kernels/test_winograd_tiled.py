"""The tiled Winograd convolution for GPUs: right in odd shapes, offered where its work-groups skip what was removed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clprune.candidate import bind_case, verify
from clprune.darknet.values import LayerWeights
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.base import Rank, Request
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd_operation import WinogradOperation, winograd_operation
from clprune.kernels.winograd_tiled import WINOGRAD_TILED, WinogradTiledTile
from clprune.kernels.workload import WeightForm, Workload
from clprune.offline.architectures import architecture_by_name
from clprune.offline.architectures import imaginary_device as card
from clprune.opencl import Session
from tests.imaginary import imaginary_device

GPU = imaginary_device()
DENSE = Workload(seed=1)
UNITS = Workload(seed=2, kept_share=0.25, unit_rows=8)
OF_GROUPS = Workload(seed=4, kept_share=0.25, unit_rows=64)
NOTHING = Workload(seed=3, kept_share=0.0)
SMALL = WinogradTiledTile(tile_m=4, vectors=1, group_m=16, group_n=4)
LARGE, *_ = WINOGRAD_TILED.gpu_tiles


def winograd(
    filters: int, height: int, width: int, *, m: int = 4, pooled: bool = False, added: str = "", **more: int
) -> WinogradOperation:
    sizes = {"batch": 1, "in_channels": 3, "padding": 1, **more}
    problem = ConvProblem.square(**sizes, in_height=height, in_width=width, out_channels=filters, size=3)
    operation = conv_operation(problem, activation="leaky", pooled=pooled, added=added)
    return winograd_operation(operation, output_tile=m)


@pytest.mark.parametrize("workload", [DENSE, UNITS, NOTHING], ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("tile", "operation"),
    [
        (SMALL, winograd(35, 13, 7, in_channels=17, batch=3)),
        (SMALL, winograd(33, 5, 9, m=2, in_channels=31, padding=0)),
        (dataclasses.replace(SMALL, tile_k=4), winograd(65, 3, 3, padding=2, in_channels=5)),
        (LARGE, winograd(67, 34, 66, in_channels=9)),
        (LARGE, winograd(33, 28, 36, m=2, in_channels=8, pooled=True)),
        (dataclasses.replace(LARGE, group_n=8), winograd(33, 28, 36, batch=2, added="relu")),
        (WINOGRAD_TILED.safe_tile(winograd(3, 5, 7)), winograd(3, 5, 7)),
    ],
    ids=["batch", "F2", "chunks of four", "two row groups", "pooled", "added", "safe"],
)
def test_right(
    device_context: Session, tile: WinogradTiledTile, operation: WinogradOperation, workload: Workload
) -> None:
    WINOGRAD_TILED.check(tile, operation, device_context.info)
    case = WINOGRAD_TILED.case(tile, operation, WINOGRAD_TILED.sample(operation, workload))
    verify(device_context, bind_case(device_context, WINOGRAD_TILED, tile, operation, case))


def test_one_list_for_the_rows_of_a_work_group() -> None:
    """Rows 0 to 63 keep the channels that any of them needs in a matrix, in chunks of eight; row 64 has its own."""
    operation = winograd(65, 5, 9, m=2, in_channels=11)
    u = np.zeros((4, 4, 65, 11), np.float32)
    u[0, 0, 0, 3], u[0, 0, 63, 7], u[0, 0, 64, 10] = 1, 2, 3
    u[1, 0, :64, :9] = 4
    weights = LayerWeights(weights=u, biases=np.zeros(65, np.float32), winograd=2)
    packed = WINOGRAD_TILED.pack(SMALL, operation, weights=weights)
    assert packed.blocks[0, [0, 1, 4]].tolist() == [[0, 8, 0], [16, 0, 16 * 64], [16, 16, 16 * 64]]
    assert packed.blocks[1, [0, 4]].tolist() == [[8, 8, 8 * 64], [32, 0, 32 * 64]]
    stride = SMALL.row_stride(operation)
    assert (packed.offsets[:16] // stride).tolist() == [3, *[7] * 7, *[10] * 8]
    assert (packed.offsets[16:32] // stride).tolist() == [*range(9), *[8] * 7]
    assert len(packed.offsets) == 32 + 8
    assert packed.kept_share == (2 * 64 + 9 * 64 + 1) / u.size


def request(workload: Workload, *, filters: int = 64, domain: int | None = 4, **facts: object) -> Request:
    problem = ConvProblem.square(
        batch=1, in_channels=64, in_height=56, in_width=56, out_channels=filters, size=3, padding=1
    )
    form = WeightForm(workload=workload, winograd=domain)
    return Request(operation=conv_operation(problem), form=form, device=imaginary_device(**facts), max_error=1e-3)


def test_comes_first_where_its_rows_are_removed_together() -> None:
    for workload, rank in ((Workload(), Rank.TRANSFORMED), (OF_GROUPS, Rank.TRANSFORMED), (UNITS, Rank.DOUBTFUL)):
        (offer,) = WINOGRAD_TILED.offers(request(workload))
        assert offer.label == "winograd F(4x4) tiled"
        assert (offer.rank, offer.is_likely) == (rank, rank < Rank.DOUBTFUL)
    labels = [offer.label for offer in WINOGRAD_TILED.offers(request(Workload(), domain=None))]
    assert labels == ["winograd F(4x4) tiled", "winograd F(2x2) tiled"]


def test_is_for_gpus_and_layers_with_channels() -> None:
    assert WINOGRAD_TILED.offers(request(DENSE, type="cpu", native_vector_width_float=8)) == ()
    assert WINOGRAD_TILED.offers(request(DENSE, filters=31)) == ()
    assert not WINOGRAD_TILED.offers(request(DENSE, max_work_group_size=1))
    assert WINOGRAD_TILED.offers(request(DENSE, local_mem_is_dedicated=False)) == ()


@pytest.mark.parametrize("name", ["sm_80", "sm_90", "gfx90a", "gfx1030", "gfx1100"])
def test_default_tile_fills_the_card(name: str) -> None:
    """Large layers with the largest tile; few tiles in smaller work-groups, which are not mostly fill."""
    device = card(architecture_by_name(name))
    large = winograd(64, 224, 224, in_channels=64, batch=8)
    assert WINOGRAD_TILED.default_tile(large, device) == LARGE
    for operation in (winograd(512, 14, 14, in_channels=512), winograd(256, 28, 28, in_channels=256)):
        tile = WINOGRAD_TILED.default_tile(operation, device)
        groups = tile.groups(operation)
        assert groups / (ceil_div(groups, device.compute_units) * device.compute_units) >= 0.7
        assert tile.row_stride(operation) < 2 * operation.segments(1)
    assert WINOGRAD_TILED.default_tile(winograd(32, 56, 56, in_channels=32, batch=8), device).rows == 32


def test_fewer_results_where_registers_are_few() -> None:
    """And as many rows, so that weights that were pruned for other cards are skipped there as well."""
    operation = winograd(64, 224, 224, in_channels=64, batch=8)
    tile = WINOGRAD_TILED.default_tile(operation, card(architecture_by_name("gfx906")))
    assert (tile.rows, tile.results, tile.work_group_size) == (LARGE.rows, 32, 256)
    others = WINOGRAD_TILED.own_tiles(card(architecture_by_name("gfx90a")))
    assert tile not in others
    assert LARGE in others
