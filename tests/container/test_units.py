"""Units that hold any weight, against lists written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.container.units import (
    DENSE,
    KeptUnits,
    MatrixShape,
    kept_positions,
    row_numbers,
    smallest_unit_rows,
    take_units,
    to_matrix,
)

MATRIX = np.array(
    [
        [0, 2, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 5, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 7],
        [0, 9, 0, 0],
    ],
    np.float32,
)


def units_of(matrix: np.ndarray, shape: MatrixShape, *, unit_rows: int, zero: int = 0) -> KeptUnits:
    positions = kept_positions(matrix != zero, shape, unit_rows=unit_rows)
    return take_units(matrix, shape, positions, unit_rows=unit_rows, zero=zero)


def test_single_weights() -> None:
    units = units_of(MATRIX, MatrixShape(rows=6, columns=4, group_rows=6), unit_rows=1)
    assert units.positions.tolist() == [1, 10, 19, 21]
    assert units.values.tolist() == [[2], [5], [7], [9]]


def test_column_lists_of_row_blocks() -> None:
    units = units_of(MATRIX, MatrixShape(rows=6, columns=4, group_rows=6), unit_rows=2)
    assert units.positions.tolist() == [1, 6, 9, 11]
    assert units.values.tolist() == [[2, 0], [5, 0], [0, 9], [7, 0]]


def test_short_blocks_at_the_end_of_each_group() -> None:
    units = units_of(MATRIX, MatrixShape(rows=6, columns=4, group_rows=3), unit_rows=2)
    assert units.positions.tolist() == [1, 6, 11, 13]
    assert units.values.tolist() == [[2, 0], [5, 0], [0, 7], [9, 0]]
    assert row_numbers(units).tolist() == [[0, 1], [2, 3], [3, 4], [5, 5]]


@pytest.mark.parametrize("group_rows", [1, 2, 3, 6])
@pytest.mark.parametrize("unit_rows", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("zero", [0, 3])
def test_round_trip(group_rows: int, unit_rows: int, zero: int) -> None:
    shape = MatrixShape(rows=6, columns=4, group_rows=group_rows)
    codes = np.where(MATRIX == 0, zero, MATRIX + 10).astype(np.uint8)
    units = units_of(codes, shape, unit_rows=min(unit_rows, group_rows), zero=zero)
    assert to_matrix(units, zero=zero).tolist() == codes.tolist()


def smallest(is_kept: np.ndarray, *, group_rows: int, value_bits: int = 32) -> int:
    shape = MatrixShape(rows=is_kept.shape[0], columns=is_kept.shape[1], group_rows=group_rows)
    return smallest_unit_rows(is_kept, shape, value_bits=value_bits, candidates=(1, 4, 8, group_rows))


def test_the_smallest_form() -> None:
    rng = np.random.default_rng(0)
    assert smallest(np.ones((16, 31), np.bool_), group_rows=16) == DENSE
    assert smallest(rng.random((64, 31)) < 0.1, group_rows=64) == 1
    assert smallest(np.repeat(rng.random((8, 31)) < 0.25, 8, axis=0), group_rows=64) == 8
    assert smallest(np.repeat(rng.random((1, 31)) < 0.5, 64, axis=0), group_rows=64) == 64
    assert smallest(rng.random((64, 31)) < 0.9, group_rows=64, value_bits=4) == DENSE


def test_nothing_kept_takes_nothing() -> None:
    is_kept = np.zeros((5, 3), np.bool_)
    shape = MatrixShape(rows=5, columns=3, group_rows=5)
    assert smallest(is_kept, group_rows=5) != DENSE
    units = take_units(np.ones((5, 3)), shape, kept_positions(is_kept, shape, unit_rows=5), unit_rows=5, zero=0)
    assert units.values.shape == (0, 5)
    assert not to_matrix(units, zero=0).any()
