"""Hot loops of the kernel for matrix units, compiled for cards that are not here: what they hold beside its use."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clprune.architecture import Architecture
from clprune.geometry import ConvProblem, ceil_div
from clprune.kernels.conv_matrix import CONV_MATRIX
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.matrix_operation import ConvMatrixTile, matrix_operation
from clprune.kernels.matrix_unit import FRAGMENTS, UNIT_ROWS
from clprune.kernels.workload import Workload
from clprune.offline.architectures import architecture_by_name, imaginary_device
from clprune.offline.compilers import Toolchain, compile_kernel
from clprune.offline.occupancy import occupancy
from clprune.offline.report import Report
from clprune.precision import FORMATS, PRECISIONS

PROBLEM = ConvProblem.square(batch=8, in_channels=256, in_height=56, in_width=56, out_channels=256, size=3, padding=1)
PRUNED = Workload(kept_share=0.25, unit_rows=16)

#: gfx940 is the newest CDNA that clang 15 knows: gfx942 has the same instructions.
ARCHITECTURES: tuple[Architecture, ...] = (
    *(architecture_by_name(name) for name in ("sm_80", "sm_90", "gfx90a")),
    dataclasses.replace(architecture_by_name("gfx90a"), name="gfx940"),
    architecture_by_name("gfx1100"),
)


#: Other instructions per matrix instruction at most.
MOST_OTHERS = 3.0


@dataclass(frozen=True, kw_only=True)
class MatrixLoop:
    """One tile compiled for one card. `is_pooled`: with the pooling that follows fused."""

    architecture: Architecture
    precision: str
    tile: ConvMatrixTile
    is_pooled: bool
    report: Report

    @property
    def others(self) -> float:
        """Other instructions that vectors take part in, per matrix instruction: what the page of hot loops counts."""
        loop = self.report.loop
        return (loop.vector_instructions - loop.matrix_instructions) / loop.matrix_instructions

    @property
    def scalars(self) -> float:
        """Instructions of AMD's scalar unit per matrix instruction."""
        loop = self.report.loop
        return (loop.scalars + loop.scalar_loads) / loop.matrix_instructions

    @property
    def fragment_loads(self) -> float:
        """Loads of inputs and weights per matrix instruction, of 16 bytes at most: fragments are made of them."""
        fragments = FRAGMENTS[self.tile.unit, self.precision]
        inputs = len(fragments.b_columns.places) / self.tile.bundle
        weights = ceil_div(len(fragments.a_rows.places) * FORMATS[self.precision].size_bytes, 16)
        return inputs / (self.tile.tile_m / UNIT_ROWS) + weights / self.tile.tiles_n

    @property
    def index_loads(self) -> float:
        """Loads of lists per matrix instruction."""
        loop = self.report.loop
        return (loop.global_loads + loop.scalar_loads) / loop.matrix_instructions - self.fragment_loads

    @property
    def occupancy(self) -> float:
        """Share of the warps that a compute unit holds."""
        size = FRAGMENTS[self.tile.unit, self.precision].lanes * self.tile.group_n
        return occupancy(
            self.architecture,
            work_group_size=size,
            registers=self.report.registers,
            scalar_registers=self.report.scalar_registers,
            local_mem_bytes=self.report.local_mem_bytes,
        ).share


def matrix_loops(toolchain: Toolchain, architecture: Architecture) -> Iterator[MatrixLoop]:
    """Every tile of the unit's own for a layer of VGG16, and the default ones where pooling follows, in each precision.

    Raises MissingDependencyError naming what to install, BuildError.
    """
    device = imaginary_device(architecture)
    for precision in PRECISIONS:
        plain, pooled = (
            matrix_operation(conv_operation(PROBLEM, activation="relu", pooled=is_pooled), precision=precision)
            for is_pooled in (False, True)
        )
        tiles = [(tile, plain) for tile in CONV_MATRIX.ranked_tiles(plain, device)]
        if tiles:
            tiles += [(CONV_MATRIX.default_for(pooled, form, device), pooled) for form in (Workload(), PRUNED)]
        for tile, operation in dict.fromkeys(tiles):
            yield compiled_loop(toolchain, architecture, tile, precision=precision, is_pooled=operation.pooled)


def compiled_loop(
    toolchain: Toolchain, architecture: Architecture, tile: ConvMatrixTile, *, precision: str, is_pooled: bool = False
) -> MatrixLoop:
    """One tile for that layer. Raises MissingDependencyError naming what to install, BuildError."""
    operation = matrix_operation(conv_operation(PROBLEM, activation="relu", pooled=is_pooled), precision=precision)
    report = compile_kernel(
        toolchain,
        architecture,
        source=CONV_MATRIX.source(tile, operation),
        options=CONV_MATRIX.build_options(imaginary_device(architecture)),
    )
    return MatrixLoop(architecture=architecture, precision=precision, tile=tile, is_pooled=is_pooled, report=report)


def defaults(loops: Sequence[MatrixLoop], workload: Workload) -> Iterator[MatrixLoop]:
    """Of one card's, those of the default tiles for weights of that form."""
    device = imaginary_device(loops[0].architecture)
    for precision, is_pooled in dict.fromkeys((loop.precision, loop.is_pooled) for loop in loops):
        operation = matrix_operation(conv_operation(PROBLEM, activation="relu", pooled=is_pooled), precision=precision)
        tile = CONV_MATRIX.default_for(operation, workload, device)
        yield next(
            loop for loop in loops if (loop.precision, loop.is_pooled, loop.tile) == (precision, is_pooled, tile)
        )
