"""The hot loops of kernels for matrix units, compiled for cards that are not here."""

from __future__ import annotations

import pytest

from clprune.architecture import Architecture
from clprune.kernels.conv_matrix import CONV_MATRIX
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.matrix_operation import ConvMatrixTile, matrix_operation
from clprune.kernels.matrix_unit import UNIT_ROWS
from clprune.kernels.workload import Workload
from clprune.offline.architectures import imaginary_device
from clprune.precision import FLOAT16, PRECISIONS, TF32
from tests.offline.test_compilers import toolchain_for
from tools.offline.matrix import ARCHITECTURES, MOST_OTHERS, PROBLEM, PRUNED, MatrixLoop, compiled_loop

#: Unit, precision, rows, mapping -> the bundles by which the loop reaches the goal; the page has them all.
REACHED = (
    ("mma", TF32, 16, "flat", (1, 2)),
    ("mma", TF32, 16, "rows", (2,)),
    ("mma", TF32, 32, "rows", (1, 2)),
    ("mma", FLOAT16, 16, "flat", (2, 4)),
    ("mma", FLOAT16, 16, "rows", (4,)),
    ("mma", FLOAT16, 32, "rows", (2, 4)),
    ("mfma", FLOAT16, 16, "flat", (2, 4)),
    ("mfma", FLOAT16, 16, "rows", (4,)),
    ("mfma", FLOAT16, 32, "rows", (2, 4)),
    ("wmma", FLOAT16, 16, "rows", (8,)),
    ("wmma", FLOAT16, 32, "rows", (4, 8)),
    ("wmma", FLOAT16, 64, "flat", (2, 4, 8)),
    ("wmma", FLOAT16, 64, "rows", (2, 4, 8)),
)


def tallest(architecture: Architecture, precision: str, **fields: object) -> ConvMatrixTile:
    """Of the card's own tiles with these fields the one with most positions."""
    operation = matrix_operation(conv_operation(PROBLEM, activation="relu"), precision=precision)
    ranked = CONV_MATRIX.ranked_tiles(operation, imaginary_device(architecture))
    own = [tile for tile in ranked if fields.items() <= vars(tile).items()]
    return max(own, key=lambda tile: tile.tiles_n)


def check(loop: MatrixLoop) -> None:
    assert not loop.report.uses_private_memory
    assert loop.report.loop.matrix_instructions == loop.tile.tile_m // UNIT_ROWS * loop.tile.tiles_n
    assert loop.others <= MOST_OTHERS
    assert loop.index_loads <= 1
    assert loop.occupancy >= 0.25


@pytest.mark.parametrize(
    ("architecture", "precision", "rows", "mapping", "bundle"),
    [
        (architecture, *facts, bundle)
        for unit, *facts, bundles in REACHED
        for architecture in ARCHITECTURES
        if imaginary_device(architecture).matrix_unit == unit
        for bundle in bundles
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_matrix_instructions_fill_the_loop(
    architecture: Architecture, precision: str, rows: int, mapping: str, bundle: int
) -> None:
    tile = tallest(architecture, precision, tile_m=rows, mapping=mapping, rounding="before", bundle=bundle)
    check(compiled_loop(toolchain_for(architecture), architecture, tile, precision=precision))


@pytest.mark.parametrize("name", ["sm_80", "sm_90"])
def test_smallest_tiles_share_what_a_turn_costs(name: str) -> None:
    """Four matrix instructions a step, eight a turn; with one step there would be four others for each."""
    architecture = next(architecture for architecture in ARCHITECTURES if architecture.name == name)
    tile = ConvMatrixTile(unit="mma", tile_m=16, tiles_n=4, group_n=4, rounding="before", bundle=4)
    loop = compiled_loop(toolchain_for(architecture), architecture, tile, precision=FLOAT16)
    assert loop.report.loop.matrix_instructions == 8
    assert loop.others <= MOST_OTHERS
    assert not loop.report.uses_private_memory


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
@pytest.mark.parametrize("workload", [Workload(), PRUNED], ids=["dense", "pruned"])
@pytest.mark.parametrize("is_pooled", [False, True], ids=["flat", "pooled"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_default_tiles(architecture: Architecture, precision: str, workload: Workload, *, is_pooled: bool) -> None:
    """Dense and a quarter kept, in each precision that the unit has."""
    device = imaginary_device(architecture)
    operation = matrix_operation(conv_operation(PROBLEM, activation="relu", pooled=is_pooled), precision=precision)
    if not CONV_MATRIX.ranked_tiles(operation, device):
        return
    tile = CONV_MATRIX.default_for(operation, workload, device)
    check(compiled_loop(toolchain_for(architecture), architecture, tile, precision=precision, is_pooled=is_pooled))
