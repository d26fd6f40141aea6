"""The tiled convolution for GPUs: right in odd shapes, offered where its work-groups skip what was removed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clprune.candidate import bind_case, verify
from clprune.geometry import ConvProblem
from clprune.kernels.base import Rank, Request
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.conv_tiled import CONV_TILED, ConvTiledTile
from clprune.kernels.samples import coded_weights
from clprune.kernels.storage import CODEBOOK8
from clprune.kernels.workload import WeightForm, Workload
from clprune.offline.architectures import architecture_by_name
from clprune.offline.architectures import imaginary_device as card
from clprune.opencl import Session
from tests.imaginary import imaginary_device

GPU = imaginary_device()
DENSE = Workload(seed=1)
UNITS = Workload(seed=2, kept_share=0.25, unit_rows=8)
NOTHING = Workload(seed=3, kept_share=0.0)
SMALL = ConvTiledTile(tile_m=4, vectors=2, group_m=4, group_n=16)


def conv(
    filters: int, height: int, width: int, *, channels: int = 3, pooled: bool = False, **more: int
) -> ConvOperation:
    sizes = {"batch": 1, "size": 3, "padding": 1, **more}
    problem = ConvProblem.square(**sizes, in_channels=channels, in_height=height, in_width=width, out_channels=filters)
    return conv_operation(problem, activation="leaky", pooled=pooled)


def rows(tile: ConvTiledTile) -> ConvTiledTile:
    return ConvTiledTile(**{**vars(tile), "mapping": "rows"})


def split(tile: ConvTiledTile, splits: int) -> ConvTiledTile:
    return ConvTiledTile(**{**vars(tile), "splits": splits})


@pytest.mark.parametrize("workload", [DENSE, UNITS, NOTHING], ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("tile", "operation"),
    [
        (SMALL, conv(17, 5, 33)),
        (rows(SMALL), conv(17, 13, 7, batch=2, stride=2)),
        (rows(SMALL), conv(31, 6, 38, batch=2, pooled=True)),
        (ConvTiledTile(tile_m=4, vectors=1, group_m=4, group_n=16, tile_k=16), conv(33, 3, 31, groups=3)),
        (ConvTiledTile(tile_m=8, vectors=2, group_m=8, group_n=32), conv(67, 9, 61)),
        (ConvTiledTile(tile_m=8, vectors=2, group_m=8, group_n=32, stage_width=4), conv(67, 9, 61)),
        (rows(ConvTiledTile(tile_m=4, vectors=2, group_m=4, group_n=16, stage_width=4)), conv(31, 6, 38, pooled=True)),
        (split(SMALL, 2), conv(17, 5, 33, channels=8)),
        (split(rows(SMALL), 16), conv(31, 6, 38, batch=2, channels=57, pooled=True)),
    ],
    ids=[
        "flat",
        "strided",
        "pooled",
        "grouped",
        "two row groups",
        "inputs in fours",
        "inputs in fours, pooled",
        "two splits",
        "16 splits, pooled",
    ],
)
def test_right(device_context: Session, tile: ConvTiledTile, operation: ConvOperation, workload: Workload) -> None:
    CONV_TILED.check(tile, operation, device_context.info)
    case = CONV_TILED.case(tile, operation, CONV_TILED.sample(operation, workload))
    verify(device_context, bind_case(device_context, CONV_TILED, tile, operation, case))


def test_one_list_for_the_row_blocks_of_a_work_group() -> None:
    """Rows 0 to 15 keep the columns that any of them needs, in chunks of eight; row 16 has a list of its own."""
    matrix = np.zeros((17, 27), np.float32)
    matrix[0, 3], matrix[15, 20], matrix[16, 26] = 1, 2, 3
    operation = conv(17, 5, 33)
    packed = CONV_TILED.pack(SMALL, operation, weights=coded_weights(matrix, bias=np.zeros(17), storage="float32"))
    assert packed.blocks[:, :3].tolist() == [[0, 8, 0]] * 4 + [[8, 8, 128]] * 4
    assert packed.blocks[:, 4].tolist() == [4, 4, 4, 4, 1, 0, 0, 0]
    offsets = operation.column_offsets
    assert packed.offsets[:8].tolist() == [offsets[3], *[offsets[20]] * 7]
    assert packed.kept_share == (2 * 16 + 1) / (17 * 27)


def request(workload: Workload, *, filters: int = 64, **facts: object) -> Request:
    form = WeightForm(workload=workload)
    return Request(
        operation=conv(filters, 56, 56, channels=64), form=form, device=imaginary_device(**facts), max_error=1e-3
    )


def test_comes_first_where_its_rows_are_removed_together() -> None:
    """Units of 8 rows at random leave hardly a column that all 64 rows of a work-group have lost."""
    for workload, rank in (
        (Workload(), Rank.SPECIAL + 5),
        (Workload(kept_share=0.25, unit_rows=64), Rank.SPECIAL + 5),
        (Workload(kept_share=0.25, unit_rows=8), Rank.DOUBTFUL),
    ):
        (offer,) = CONV_TILED.offers(request(workload))
        assert (offer.rank, offer.is_likely) == (rank, rank < Rank.USUAL)


def test_is_for_gpus_and_layers_with_channels() -> None:
    assert CONV_TILED.offers(request(DENSE, type="cpu", native_vector_width_float=8)) == ()
    assert CONV_TILED.offers(request(DENSE, filters=31)) == ()
    assert CONV_TILED.offers(request(DENSE, max_work_group_size=1)) == ()
    assert CONV_TILED.offers(request(DENSE, local_mem_is_dedicated=False)) == ()
    operation = conv_operation(request(DENSE).operation.problem, storage=CODEBOOK8)
    of_codes = Request(operation=operation, form=WeightForm(), device=GPU, max_error=1e-3)
    assert CONV_TILED.offers(of_codes) == ()


@pytest.mark.parametrize("name", ["sm_80", "sm_90", "gfx90a", "gfx1100"])
def test_default_tile_fills_the_card(name: str) -> None:
    """With its columns shared out where positions are few; a layer with few columns takes smaller tiles for that."""
    device = card(architecture_by_name(name))
    first = CONV_TILED.own_tiles(device)[0]
    assert CONV_TILED.default_tile(conv(64, 224, 224, channels=64, batch=8), device) == first
    small = conv(512, 14, 14, channels=512)
    tile = CONV_TILED.default_tile(small, device)
    groups = np.prod(CONV_TILED.launch(tile, small).global_size) // tile.work_group_size
    assert tile.splits > 1
    assert groups / (-(-groups // device.compute_units) * device.compute_units) >= 0.8
    assert tile == dataclasses.replace(first, splits=tile.splits)
    shallow = CONV_TILED.default_tile(conv(512, 14, 14, channels=8), device)
    assert shallow.work_group_size < first.work_group_size


def test_columns_are_shared_out_only_where_there_are_many() -> None:
    reason = CONV_TILED.rejection(split(SMALL, 16), conv(17, 5, 33), GPU)
    assert reason == "columns are shared out where work-groups are few and columns many"


def test_inputs_are_fetched_one_by_one_on_nvidia() -> None:
    """Its vectors want an alignment that offsets do not keep."""
    operation = conv(64, 224, 224)
    widths = {
        name: CONV_TILED.default_tile(operation, card(architecture_by_name(name))).stage_width
        for name in ("sm_90", "gfx90a", "gfx1100")
    }
    assert widths == {"sm_90": 1, "gfx90a": 4, "gfx1100": 4}
    nvidia = card(architecture_by_name("sm_90"))
    assert {tile.stage_width for tile in CONV_TILED.candidates(operation, nvidia)} == {1}
    strided = conv(64, 224, 224, stride=2)
    assert CONV_TILED.default_tile(strided, card(architecture_by_name("gfx90a"))).stage_width == 1


def test_fewer_results_where_registers_are_few() -> None:
    """And as many rows; elsewhere the same tiles as without that card."""
    operation = conv(64, 224, 224, channels=64)
    old, new = (card(architecture_by_name(name)) for name in ("gfx906", "gfx90a"))
    tile, other = (CONV_TILED.default_tile(operation, device) for device in (old, new))
    assert (tile.rows, tile.results) == (other.rows, other.results // 2)
    assert all(tile.results == 32 or tile.vectors == 1 for tile in CONV_TILED.own_tiles(old))
    assert tile not in CONV_TILED.own_tiles(new)
