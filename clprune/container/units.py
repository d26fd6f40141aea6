"""The units of a weight matrix that hold any weight: where they are, and their values.

A unit is `unit_rows` consecutive output channels x 1 column. With 1 row these are the weights that are not zero one by
one (compressed rows), with the rows of a pruning unit column lists per row block, with all rows of a group whole
columns: one form for all of them, and the smallest is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.container.gaps import Positions, best_remainder_bits
from clprune.darknet.kinds.base import WeightedLayer
from clprune.errors import UsageError

Matrix = npt.NDArray[Any]
IsKept = npt.NDArray[np.bool_]

#: Larger tiles lose all digits of float32: a file that names one is damaged. Our choice.
LARGEST_OUTPUT_TILE = 8

#: `unit_rows` of a matrix that is stored whole.
DENSE = 0


@dataclass(frozen=True, kw_only=True)
class MatrixShape:
    """`rows` x `columns`, in groups of `group_rows` rows which no unit straddles."""

    rows: int
    columns: int
    group_rows: int

    @classmethod
    def of(cls, layer: WeightedLayer, *, winograd: int | None) -> MatrixShape:
        """That of a layer's weights, in the Winograd domain for an output tile `winograd`. Raises UsageError."""
        if winograd is not None and not layer.has_winograd_domain:
            raise UsageError("weights in the Winograd domain: expected a 3x3 convolution of stride 1 in one group")
        if winograd is not None and not 1 <= winograd <= LARGEST_OUTPUT_TILE:
            raise UsageError(f"an output tile of {winograd}: expected 1 to {LARGEST_OUTPUT_TILE}")
        rows, columns = layer.matrix_shape(winograd)
        return cls(rows=rows, columns=columns, group_rows=layer.group_rows)

    def blocks(self, unit_rows: int) -> int:
        """Row blocks of `unit_rows`; the last one of each group may be shorter."""
        return self.rows // self.group_rows * -(-self.group_rows // unit_rows)

    def units(self, unit_rows: int) -> int:
        """Units of `unit_rows` x 1 in the matrix."""
        return self.blocks(unit_rows) * self.columns


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptUnits:
    """`positions` int64 `[kept]`, ascending: row block x columns + column. `values` `[kept, unit_rows]`, in which the
    rows that a short block lacks hold what stands for zero.
    """

    shape: MatrixShape
    unit_rows: int
    positions: Positions
    values: Matrix


def kept_positions(is_kept: IsKept, shape: MatrixShape, *, unit_rows: int) -> Positions:
    """Positions of the units with any weight that `is_kept`, bool `[rows, columns]`."""
    starts = _block_starts(shape, unit_rows=unit_rows)
    blocks = is_kept if unit_rows == 1 else np.logical_or.reduceat(is_kept, starts, axis=0)
    return np.flatnonzero(blocks).astype(np.int64, copy=False)


def smallest_unit_rows(is_kept: IsKept, shape: MatrixShape, *, value_bits: int, candidates: Iterable[int]) -> int:
    """The unit rows among `candidates` with which the matrix takes the fewest bytes, or DENSE."""
    best, best_bytes = DENSE, -(-is_kept.size * value_bits // 8)
    for unit_rows in sorted({min(rows, shape.group_rows) for rows in candidates}, reverse=True):
        positions = kept_positions(is_kept, shape, unit_rows=unit_rows)
        size = -(-positions.size * unit_rows * value_bits // 8)
        if size >= best_bytes:
            continue
        size += best_remainder_bits(positions)[1]
        if size < best_bytes:
            best, best_bytes = unit_rows, size
    return best


def take_units(matrix: Matrix, shape: MatrixShape, positions: Positions, *, unit_rows: int, zero: int) -> KeptUnits:
    """Take the units at `positions` out of `matrix` `[rows, columns]`; `zero` fills short blocks."""
    values = np.full((positions.size, unit_rows), zero, matrix.dtype)
    block, column = np.divmod(positions, shape.columns)
    first = _block_starts(shape, unit_rows=unit_rows)[block]
    for row, is_inside in _rows_of_units(shape, block, unit_rows=unit_rows):
        values[is_inside, row] = matrix[first[is_inside] + row, column[is_inside]]
    return KeptUnits(shape=shape, unit_rows=unit_rows, positions=positions, values=values)


def to_matrix(units: KeptUnits, *, zero: int) -> Matrix:
    """The matrix `[rows, columns]` in the values' dtype, `zero` where nothing is kept."""
    shape = units.shape
    matrix = np.zeros(shape.rows * shape.columns, units.values.dtype)
    if zero != 0:
        matrix.fill(zero)
    if units.unit_rows == 1:
        matrix[units.positions] = units.values[:, 0]
        return matrix.reshape(shape.rows, shape.columns)
    block, column = np.divmod(units.positions, shape.columns)
    first = _block_starts(shape, unit_rows=units.unit_rows)[block] * shape.columns + column
    for row, is_inside in _rows_of_units(shape, block, unit_rows=units.unit_rows):
        matrix[first[is_inside] + row * shape.columns] = units.values[is_inside, row]
    return matrix.reshape(shape.rows, shape.columns)


def row_numbers(units: KeptUnits) -> npt.NDArray[np.int64]:
    """The matrix's row of each value, int64 `[kept, unit_rows]`; rows that a short block lacks repeat the last row."""
    first = _block_starts(units.shape, unit_rows=units.unit_rows)[units.positions // units.shape.columns]
    rows: npt.NDArray[np.int64] = np.minimum(first[:, None] + np.arange(units.unit_rows), units.shape.rows - 1)
    return rows


def _block_starts(shape: MatrixShape, *, unit_rows: int) -> npt.NDArray[np.int64]:
    """First row of each row block."""
    in_group = np.arange(0, shape.group_rows, unit_rows)
    groups = np.arange(0, shape.rows, shape.group_rows)
    return np.add.outer(groups, in_group).reshape(-1).astype(np.int64)


def _rows_of_units(
    shape: MatrixShape, block: npt.NDArray[np.int64], *, unit_rows: int
) -> Iterable[tuple[int, slice | IsKept]]:
    """(row of the unit, which units have it): all of them, but for the last rows of short blocks."""
    last_rows = shape.group_rows % unit_rows
    if last_rows == 0:
        return ((row, slice(None)) for row in range(unit_rows))
    blocks_per_group = shape.blocks(unit_rows) * shape.group_rows // shape.rows
    is_whole = block % blocks_per_group != blocks_per_group - 1
    return ((row, slice(None) if row < last_rows else is_whole) for row in range(unit_rows))
