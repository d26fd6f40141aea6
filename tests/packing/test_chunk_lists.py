"""Lists of entries by block, chunk of channels and row, against packings written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clprune.packing.chunk_lists import PackedChunkLists, deal_rows, pack_chunk_lists
from clprune.packing.rows import CompressedRows


def dealt(lengths: list[int], block_rows: int) -> list[list[int]]:
    return [rows.tolist() for rows in deal_rows(np.array(lengths), block_rows=block_rows)]


def test_rows_are_dealt_out_back_and_forth() -> None:
    assert dealt([6, 1, 5, 2, 4, 3], 3) == [[0, 3, 5], [1, 2, 4]]  # entries 6, 3, 2 and 5, 4, 1
    assert dealt([6, 1, 5, 2, 4, 3], 2) == [[0, 1], [2, 3], [4, 5]]


def test_blocks_differ_by_a_row_at_most() -> None:
    assert dealt([0, 0, 0, 0, 0], 2) == [[0], [1, 4], [2, 3]]
    assert dealt([1, 1, 1], 8) == [[0, 1, 2]]


def packed(matrix: list[list[float]], *, block_rows: int, dtype: type = np.float32, whole: int = 0) -> PackedChunkLists:
    """Four columns in two chunks; the third entry of a chunk would have the offset 12."""
    entries = CompressedRows.from_dense(np.array(matrix, np.float32))
    return pack_chunk_lists(
        replace(entries, values=entries.values.astype(dtype)),
        bias=np.arange(len(matrix), dtype=np.float32),
        column_offsets=np.array([10, 11, 10, 11], np.int32),
        column_chunks=np.array([0, 0, 1, 1], np.int32),
        block_rows=block_rows,
        whole=whole,
    )


def test_entries_stand_by_chunk_then_row() -> None:
    lists = packed([[1, 2, 3, 0], [0, 0, 0, 0], [0, 4, 5, 6]], block_rows=4)
    assert lists.channels.tolist() == [0, 1, 2]
    assert lists.blocks.tolist() == [0, 3]
    assert lists.lists.tolist() == [0, 2, 2, 3, 4, 4, 6]
    assert lists.values.tolist() == [1, 2, 4, 3, 5, 6]
    assert lists.offsets.tolist() == [10, 11, 11, 10, 10, 11]
    assert lists.offsets.dtype == np.uint16
    assert lists.kept_share == 6 / 12
    assert lists.imbalance == 1
    assert lists.size_bytes == 6 * 4 + 6 * 2 + 7 * 4 + 3 * 4 + 2 * 4 + 3 * 4


def test_each_block_has_its_chunks() -> None:
    lists = packed([[1, 0, 0, 0], [2, 3, 4, 5], [0, 6, 0, 7]], block_rows=2)
    assert lists.channels.tolist() == [1, 0, 2]  # 4 entries, then 2 and 1
    assert lists.blocks.tolist() == [0, 1, 3]
    assert lists.lists.tolist() == [0, 2, 4, 5, 6, 6, 7]
    assert lists.values.tolist() == [2, 3, 4, 5, 1, 6, 7]
    assert lists.imbalance == 4 / 3.5


def test_nothing_is_left() -> None:
    lists = packed([[0, 0, 0, 0]] * 2, block_rows=1, dtype=np.int8)
    assert lists.lists.tolist() == [0] * 5
    assert lists.values.tolist() == [0]
    assert lists.values.dtype == np.int8
    assert lists.offsets.tolist() == [0]


def test_lists_begin_where_vectors_do() -> None:
    """The same entries; behind the last list as many more as a kernel reads ahead."""
    matrix = [[1, 2, 3, 0], [0, 0, 0, 0], [0, 4, 5, 6]]
    lists = packed(matrix, block_rows=4, whole=4)
    assert lists.lists.tolist() == [0, 4, 4, 8, 12, 12, 16]
    assert lists.ends is not None
    assert lists.ends.tolist() == [2, 4, 5, 9, 12, 14, 0]
    assert lists.values.tolist() == [1, 2, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0]
    assert lists.offsets.tolist() == [10, 11, 0, 0, 11, 0, 0, 0, 10, 0, 0, 0, 10, 11, 0, 0, 0, 0, 0, 0]
    single = packed(matrix, block_rows=4, whole=1)
    assert single.lists.tolist() == packed(matrix, block_rows=4).lists.tolist()
    assert single.values.tolist() == [1, 2, 4, 3, 5, 6, 0]
    assert packed(matrix, block_rows=4).ends is None
