"""What the matrix kernel's launches, packing and limits share: tile, operation, bundles of channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.device import MMA
from clprune.errors import UsageError
from clprune.geometry import ceil_div, round_up
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.matrix_unit import FRAGMENTS, SINGLE, UNIT_ROWS, UNITS, Fragments
from clprune.kernels.rounding import rounded
from clprune.kernels.tile import values
from clprune.kernels.workload import Workload
from clprune.layout import READ_MARGIN
from clprune.precision import FLOAT32, FORMATS

#: float32 sums of one lane, which leave registers for inputs and weights.
MOST_ACCUMULATORS = 128

#: Channels of a bundle.
BUNDLES = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class ConvMatrixTile:
    """Parameters of the template, explained there.

    A warp computes `tile_m` output channels x `tiles_n` instructions' positions; a work-group is `group_n` warps.
    """

    unit: str = field(metadata=values(*UNITS, cpu=(SINGLE,)))
    tile_m: int = field(metadata=values(16, 32, 64, 128))
    tiles_n: int = field(metadata=values(1, 2, 4, 8, 16))
    group_n: int = field(default=1, metadata=values(1, 2, 4, cpu=(1,)))
    mapping: str = field(default="flat", metadata=values("flat", "rows"))
    rounding: str = field(default="loaded", metadata=values("loaded", "before"))
    bundle: int = field(default=1, metadata=values(*BUNDLES, cpu=(1, 2), before=(1,)))

    @property
    def vector_width(self) -> int:
        """Positions are counted one by one."""
        return 1

    @property
    def vectors(self) -> int:
        return self.tiles_n


@dataclass(frozen=True, kw_only=True)
class ConvMatrixOperation(ConvOperation):
    """A convolution whose products are of rounded factors: `precision` is one of `clprune.precision.PRECISIONS`."""

    precision: str = FLOAT32

    @property
    def key(self) -> str:
        return f"{super().key} matrix {self.precision}"


def matrix_operation(operation: ConvOperation, *, precision: str) -> ConvMatrixOperation:
    """The same convolution with factors of that precision."""
    return ConvMatrixOperation(**vars(operation), precision=precision)


def fragments_of(tile: ConvMatrixTile, operation: Any) -> Fragments | None:
    """The instruction that the tile computes with, or None where its unit has none of that precision."""
    return FRAGMENTS.get((tile.unit, operation.precision))


def fits_registers(tile: ConvMatrixTile, operation: Any) -> bool:
    fragments = FRAGMENTS[tile.unit, operation.precision]
    return tile.tile_m // UNIT_ROWS * tile.tiles_n * fragments.accumulators <= MOST_ACCUMULATORS


def bundles_fit(tile: ConvMatrixTile, operation: Any) -> bool:
    """Whether fragments are made of whole bundles, bundles of whole words, and inputs of whole bundles."""
    if tile.rounding == "loaded":
        return tile.bundle == 1
    fragments, layout, problem = FRAGMENTS[tile.unit, operation.precision], operation.input, operation.problem
    are_apart = layout.image_stride <= layout.channel_stride  # planes of channels, so that those of bundles may be, too
    is_whole = problem.groups == 1 or problem.group_in_channels % tile.bundle == 0
    words = len(fragments.b_columns.places) % tile.bundle == 0 and tile.bundle % per_word(operation) == 0
    return words and (tile.bundle == 1 or (are_apart and is_whole))


def turn_steps(tile: ConvMatrixTile) -> int:
    """Steps of a turn of the loop: two for NVIDIA's smallest tiles, whose turns of four instructions cost ten more."""
    return 2 if tile.unit == MMA and tile.tile_m // UNIT_ROWS * tile.tiles_n <= 4 else 1


def is_long_and_wide(tile: ConvMatrixTile, operation: Any) -> bool:
    """Whether NVIDIA's instruction gets bundles of several words from positions three inputs apart and more."""
    return tile.unit == MMA and operation.problem.window.stride_x >= 3 and tile.bundle > per_word(operation)


def per_word(operation: Any) -> int:
    """Rounded values of a word."""
    return 4 // FORMATS[operation.precision].size_bytes


def issued(tile: ConvMatrixTile, operation: Any, workload: Workload) -> float:
    """Instructions of the matrix unit and loads of inputs, relative to those of other bundles, where whole columns of a
    tile's rows were removed at random.
    """
    fragments, problem = FRAGMENTS[tile.unit, operation.precision], operation.problem
    kept_share = workload.kept_columns(problem.columns, tile_m=tile.tile_m) / problem.columns
    kept = _entries(tile, operation) * (1 - (1 - kept_share) ** tile.bundle)
    loads = len(fragments.b_columns.places) / tile.bundle
    steps = round_up(ceil(kept * tile.bundle / fragments.columns), turn_steps(tile))
    return float(steps * (tile.tile_m / UNIT_ROWS + loads))


def _entries(tile: ConvMatrixTile, operation: ConvOperation) -> int:
    """Of a list that keeps all columns: one for each bundle of channels and place of the window."""
    problem = operation.problem
    return ceil_div(problem.group_in_channels, tile.bundle) * (problem.columns // problem.group_in_channels)


def rounded_weights(matrix: npt.NDArray[np.float32], precision: str) -> npt.NDArray[np.float32]:
    """Raises UsageError where one is infinite then."""
    found = rounded(matrix, precision)
    if not np.isfinite(found).all():
        largest = np.abs(matrix).max()
        raise UsageError(f"a weight of magnitude {largest:g} does not fit {precision}: compute in another precision")
    return found


def bundled(matrix: npt.NDArray[np.float32], tile: ConvMatrixTile, operation: ConvOperation) -> npt.NDArray[np.float32]:
    """Columns `[rows, channels * places]` as `[rows, bundles * places * bundle]`, filled up with zeros."""
    channels = operation.problem.group_in_channels
    by_channel = matrix.reshape(len(matrix), channels, -1)
    whole = np.pad(by_channel, ((0, 0), (0, -channels % tile.bundle), (0, 0)))
    bundles = whole.reshape(len(matrix), -1, tile.bundle, by_channel.shape[2])
    ordered: npt.NDArray[np.float32] = bundles.transpose(0, 1, 3, 2).reshape(len(matrix), -1)
    return ordered


def bundle_lists(tile: ConvMatrixTile, operation: ConvOperation) -> dict[str, Any]:
    """`list_options` with offsets from the first input that any output needs, where bundles of channels lie behind each
    other as channels do otherwise.
    """
    lists = operation.list_options
    offsets = lists["column_offsets"][: _entries(tile, operation)] - lists["column_offsets"].min()
    return {**lists, "column_offsets": offsets, "group_offset": lists["group_offset"] // tile.bundle}


def input_range(tile: ConvMatrixTile, operation: ConvOperation) -> tuple[int, int]:
    """First element of the input's buffer that any output needs, and how many there are up to the last, in bundles of
    channels.
    """
    layout, before = operation.input, -int(operation.column_offsets.min())
    planes = ceil_div(layout.shape.channels, tile.bundle)
    return layout.origin - before, before + planes * layout.channel_stride + max(0, before)


def copy_elements(tile: ConvMatrixTile, operation: Any) -> int:
    """Words of the rounded input, with those that tiles of mapping "flat" read behind the last position."""
    _, count = input_range(tile, operation)
    return (count + READ_MARGIN) * tile.bundle // per_word(operation)
