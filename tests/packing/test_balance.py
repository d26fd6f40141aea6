"""How evenly packed work is spread."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.packing.arrays import longest_over_mean
from clprune.packing.columns import pack_columns
from clprune.packing.row_blocks import pack_rows
from clprune.packing.rows import CompressedRows


def test_longest_over_mean() -> None:
    assert longest_over_mean(np.array([3, 3, 3])) == 1.0
    assert longest_over_mean(np.array([6, 2, 1])) == 2.0
    assert longest_over_mean(np.zeros(3, np.int32)) == 1.0
    assert longest_over_mean(np.zeros(0, np.int32)) == 1.0


def test_row_blocks_of_unequal_lists() -> None:
    matrix = np.zeros((4, 6), np.float32)
    matrix[0, :4] = matrix[1, 1:3] = matrix[2, 5] = 1.0
    bias, offsets = np.zeros(4, np.float32), np.arange(6, dtype=np.int32)
    columns = pack_columns(matrix, bias=bias, column_offsets=offsets, tile_m=2)
    assert columns.imbalance == pytest.approx(4 / 2.5)  # 4 columns and 1
    entries = CompressedRows.from_dense(matrix)
    rows = pack_rows(entries, bias=bias, column_offsets=offsets, block_rows=2)
    assert rows.imbalance == pytest.approx(4 / 3.5)  # the longest row, and all others
