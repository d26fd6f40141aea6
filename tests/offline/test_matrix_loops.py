"""The hot loops of kernels for matrix units, compiled for cards that are not here."""

from __future__ import annotations

import dataclasses

import pytest

from clprune.architecture import Architecture
from clprune.geometry import ConvProblem
from clprune.kernels.conv_matrix import CONV_MATRIX, ConvMatrixTile, matrix_operation
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.matrix_unit import FRAGMENTS, UNIT_ROWS
from clprune.offline.architectures import architecture_by_name, imaginary_device
from clprune.offline.compilers import compile_kernel
from clprune.offline.report import Report
from clprune.precision import FLOAT16, FLOAT32, TF32
from tests.offline.test_compilers import toolchain_for

PROBLEM = ConvProblem.square(batch=8, in_channels=256, in_height=56, in_width=56, out_channels=256, size=3, padding=1)
#: As new as clang 15 knows: gfx942 has the same instructions.
CDNA3 = dataclasses.replace(architecture_by_name("gfx90a"), name="gfx940")
NVIDIA = (architecture_by_name("sm_80"), architecture_by_name("sm_90"))
CDNA = (architecture_by_name("gfx90a"), CDNA3)
RDNA = (architecture_by_name("gfx1100"),)

#: (precision, rows of the tile, rounding, architectures) -> other instructions per matrix instruction at most. On AMD's
#: architectures one takes the unit 32 clocks; those of RDNA 3 want 16 inputs of every lane.
LIMITS = (
    (TF32, 16, "before", NVIDIA, 3.0),
    (TF32, 32, "before", NVIDIA, 2.0),
    (FLOAT16, 64, "loaded", NVIDIA, 3.0),
    (FLOAT32, 16, "loaded", CDNA, 3.0),
    (FLOAT32, 32, "loaded", CDNA, 2.0),
    (FLOAT16, 64, "before", CDNA, 3.5),
    (FLOAT16, 64, "before", RDNA, 10.0),
)


def compiled(architecture: Architecture, tile: ConvMatrixTile, precision: str, *, pooled: bool = False) -> Report:
    operation = matrix_operation(conv_operation(PROBLEM, activation="relu", pooled=pooled), precision=precision)
    device = imaginary_device(architecture)
    CONV_MATRIX.check(tile, operation, device)
    return compile_kernel(
        toolchain_for(architecture),
        architecture,
        source=CONV_MATRIX.source(tile, operation),
        launch=CONV_MATRIX.launch(tile, operation),
        options=CONV_MATRIX.build_options(device),
    )


@pytest.mark.parametrize(
    ("architecture", "precision", "tile_m", "rounding", "most"),
    [(each, *facts, most) for *facts, architectures, most in LIMITS for each in architectures],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_matrix_instructions_fill_the_loop(
    architecture: Architecture, precision: str, tile_m: int, rounding: str, most: float
) -> None:
    """Where positions run flat, by the tile of the device's own that has most of them."""
    own = [
        tile
        for tile in CONV_MATRIX.own_tiles(imaginary_device(architecture))
        if (tile.tile_m, tile.mapping, tile.rounding) == (tile_m, "flat", rounding)
    ]
    tile = max(own, key=lambda tile: tile.tiles_n)
    report = compiled(architecture, tile, precision)
    loop = report.loop
    units = tile_m // UNIT_ROWS
    assert not report.uses_private_memory
    assert loop.matrix_instructions == units * tile.tiles_n
    assert (loop.instructions - loop.matrix_instructions) / loop.matrix_instructions <= most
    inputs = len(FRAGMENTS[tile.unit, precision].b_columns.places) * tile.tiles_n
    assert loop.global_loads + loop.scalar_loads - inputs - 2 * units <= loop.matrix_instructions  # loads of the list


@pytest.mark.parametrize("architecture", NVIDIA, ids=lambda architecture: architecture.name)
def test_pooled_layers_have_a_lane_for_each_window(architecture: Architecture) -> None:
    tile = ConvMatrixTile(unit="mma", tile_m=32, tiles_n=8, group_n=4, mapping="rows", rounding="before")
    report = compiled(architecture, tile, TF32, pooled=True)
    assert not report.uses_private_memory
    assert report.loop.matrix_instructions == 16
