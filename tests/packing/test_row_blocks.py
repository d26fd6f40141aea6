"""Blocks of rows with about equally many entries, against packings written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clprune.packing.row_blocks import balanced_blocks, pack_rows
from clprune.packing.rows import CompressedRows


def test_blocks_hold_equal_sums() -> None:
    blocks = balanced_blocks(np.array([5, 1, 4, 2, 3, 3]), block_rows=2)
    assert blocks == [[0, 3], [2, 1], [4, 5]] or sorted(map(sorted, blocks)) == [[0, 1], [2, 3], [4, 5]]
    assert [sum([5, 1, 4, 2, 3, 3][row] for row in block) for block in blocks] == [6, 6, 6]


def test_one_long_row_stands_alone() -> None:
    assert balanced_blocks(np.array([0, 9, 1, 1, 1]), block_rows=3) == [[1], [2, 3, 4, 0]]


def test_empty_rows_are_spread() -> None:
    assert sorted(map(len, balanced_blocks(np.zeros(7, np.int32), block_rows=2))) == [1, 2, 2, 2]


def test_entries_follow_their_rows() -> None:
    matrix = np.array([[0, 2, 0, 0], [0, 0, 0, 0], [5, 0, 6, 7]], np.float32)
    entries = CompressedRows.from_dense(matrix)
    packed = pack_rows(
        entries,
        bias=np.array([1, 2, 3], np.float32),
        column_offsets=np.array([10, 20, 30, 40], np.int32),
        block_rows=1,
        lookahead=2,
    )
    assert packed.rows.tolist() == [[0, 3, 2], [3, 1, 0], [4, 0, 1]]
    assert packed.blocks.tolist() == [0, 1, 2, 3]
    assert packed.values.tolist() == [5, 6, 7, 2, 0, 0]
    assert packed.offsets.tolist() == [10, 30, 40, 20, 10, 10]
    assert packed.bias.tolist() == [1, 2, 3]
    assert packed.kept_share == 4 / 12
    assert packed.size_bytes == 4 * (9 + 4 + 6 + 6 + 3)


def test_groups_read_other_channels() -> None:
    entries = CompressedRows.from_dense(np.array([[1, 0], [0, 2]], np.float32))
    packed = pack_rows(
        replace(entries, values=np.array([7, 8], np.int8)),
        bias=np.zeros(2, np.float32),
        column_offsets=np.array([0, 1], np.int32),
        block_rows=2,
        groups=2,
        group_offset=100,
    )
    assert packed.offsets.tolist() == [0, 101, 0]
    assert packed.values.tolist() == [7, 8, 0]
    assert packed.values.dtype == np.int8


def test_nothing_left() -> None:
    entries = CompressedRows.from_dense(np.zeros((2, 3), np.float32))
    packed = pack_rows(
        entries,
        bias=np.zeros(2, np.float32),
        column_offsets=np.arange(3, dtype=np.int32),
        block_rows=4,
    )
    assert packed.rows.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert packed.values.tolist() == [0]
