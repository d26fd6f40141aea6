"""Compressed rows against matrices written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.errors import UsageError
from clprune.packing.rows import CompressedRows


def test_ragged_and_empty_rows() -> None:
    matrix = np.array([[0, 2, 0, 3], [0, 0, 0, 0], [5, 0, 0, 0]], np.float32)
    packed = CompressedRows.from_dense(matrix)
    assert packed.starts.tolist() == [0, 2, 2, 3]
    assert packed.columns.tolist() == [1, 3, 0]
    assert packed.values.tolist() == [2, 3, 5]
    assert packed.lengths.tolist() == [2, 0, 1]
    assert packed.kept_share == 3 / 12
    dense = np.zeros_like(matrix)
    dense[packed.row_numbers, packed.columns] = packed.values
    assert np.array_equal(dense, matrix)


def test_nothing_left_and_one_left() -> None:
    nothing = CompressedRows.from_dense(np.zeros((2, 3), np.float32))
    assert nothing.starts.tolist() == [0, 0, 0]
    assert not nothing.columns.size and not nothing.values.size
    one = CompressedRows.from_dense(np.array([[0, 0], [0, -1.5]], np.float32))
    assert (one.starts.tolist(), one.columns.tolist(), one.values.tolist()) == ([0, 0, 1], [1], [-1.5])


def test_types() -> None:
    packed = CompressedRows.from_dense(np.eye(3, dtype=np.float16))
    assert (packed.starts.dtype, packed.columns.dtype, packed.values.dtype) == (np.int32, np.int32, np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    matrix = np.ones((4, 5), np.float32)
    matrix[2, 3] = value
    with pytest.raises(UsageError, match=r"hold 1 values that are not finite, .* for output channel 2, column 3: "):
        CompressedRows.from_dense(matrix)
