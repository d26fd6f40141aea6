"""Packing against expectations written by hand: unequal sides, groups, short blocks, empty rows, nothing left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clprune.packing.columns import BLOCK_FIELDS, PackedColumns, divided, pack_columns

# 3 rows x 5 columns; with tiles of 2 rows: columns 0, 3 for rows 0 and 1, column 4 for row 2 alone.
MATRIX = np.array([[1, 0, 0, 2, 0], [3, 0, 0, 0, 0], [0, 0, 0, 0, 4]], np.float32)
BIAS = np.array([0.5, -0.5, 7], np.float32)
OFFSETS = np.array([10, 11, 12, 13, 14], np.int32)


def pack(
    matrix: np.ndarray, *, tile_m: int, groups: int = 1, group_offset: int = 0, together: int = 1
) -> PackedColumns:
    rows, columns = matrix.shape
    return pack_columns(
        matrix.astype(np.float32),
        bias=np.arange(rows, dtype=np.float32),
        column_offsets=np.arange(columns, dtype=np.int32),
        tile_m=tile_m,
        groups=groups,
        group_offset=group_offset,
        blocks_per_group=together,
    )


def block(packed: PackedColumns, number: int) -> dict[str, int]:
    return dict(zip(BLOCK_FIELDS, packed.blocks[number].tolist(), strict=True))


def unpack(packed: PackedColumns, *, rows: int, columns: int, group_offset: int = 0, groups: int = 1) -> np.ndarray:
    """The dense matrix again, by the meaning of the fields."""
    matrix = np.zeros((rows, columns), np.float32)
    for number in range(len(packed.blocks)):
        b = block(packed, number)
        values = packed.values[b["value_start"] : b["value_start"] + b["kept"] * packed.tile_m]
        group = b["first_row"] // (rows // groups)
        for place, values_of_column in enumerate(values.reshape(b["kept"], packed.tile_m)):
            column = packed.offsets[b["list_start"] + place] - group * group_offset
            matrix[b["first_row"] : b["first_row"] + b["rows"], column] = values_of_column[: b["rows"]]
            assert not values_of_column[b["rows"] :].any()
    return matrix


def test_by_hand() -> None:
    packed = pack_columns(MATRIX, bias=BIAS, column_offsets=OFFSETS, tile_m=2)
    assert packed.values.tolist() == [1, 3, 2, 0, 4, 0]
    assert packed.offsets.tolist() == [10, 13, 14]
    assert packed.blocks.tolist() == [[0, 2, 0, 0, 2, 2], [2, 1, 4, 2, 1, 1]]
    assert packed.bias.tolist() == [[0.5, -0.5], [7, 0]]
    assert packed.kept_share == (2 * 2 + 1 * 1) / 15
    assert (packed.values.dtype, packed.offsets.dtype, packed.blocks.dtype) == (np.float32, np.int32, np.int32)
    assert packed.size_bytes == 4 * (6 + 3 + 12 + 4)


def test_tile_of_one_row_keeps_only_what_is_there() -> None:
    packed = pack(MATRIX, tile_m=1)
    assert packed.values.tolist() == [1, 2, 3, 4]
    assert packed.offsets.tolist() == [0, 3, 0, 4]
    assert packed.kept_share == 4 / 15


def test_tile_taller_than_the_unit_keeps_what_any_of_its_units_needs() -> None:
    """Units of 2 x 1; a tile of 4 rows skips only column 1, which both of its units have lost."""
    matrix = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert pack(matrix, tile_m=2).kept_share == pytest.approx(2 / 6)
    packed = pack(matrix, tile_m=4)
    assert packed.kept_share == pytest.approx(2 / 3)
    assert packed.offsets.tolist() == [0, 2]
    assert packed.values.tolist() == [1, 1, 0, 0, 0, 0, 1, 1]


def test_tile_with_more_rows_than_the_layer() -> None:
    packed = pack(np.array([[0, 5], [0, 6]]), tile_m=8)
    assert packed.values.tolist() == [5, 6, 0, 0, 0, 0, 0, 0]
    assert packed.blocks.tolist() == [[0, 1, 0, 0, 2, 1]]
    assert packed.bias.shape == (1, 8)
    assert packed.kept_share == 0.5


def test_empty_rows_between_full_ones() -> None:
    packed = pack(np.array([[1, 2], [0, 0], [3, 4]]), tile_m=1)
    assert packed.blocks[:, 1].tolist() == [2, 0, 2]
    assert packed.values.tolist() == [1, 2, 3, 4]
    assert unpack(packed, rows=3, columns=2).tolist() == [[1, 2], [0, 0], [3, 4]]


def test_layer_that_is_removed_altogether() -> None:
    """OpenCL has no empty buffers: one unused element stays."""
    packed = pack(np.zeros((3, 4)), tile_m=2)
    assert packed.kept_share == 0
    assert packed.blocks[:, 1].tolist() == [0, 0]
    assert (len(packed.values), len(packed.offsets)) == (1, 1)
    assert packed.bias.tolist() == [[0, 1], [2, 0]]


def test_full_row_blocks_share_one_list() -> None:
    matrix = np.ones((4, 3))
    matrix[2:, 1] = 0
    packed = pack(np.vstack([matrix, np.ones((2, 3))]), tile_m=2)
    assert packed.offsets.tolist() == [0, 1, 2, 0, 2]
    assert packed.blocks[:, 0].tolist() == [0, 3, 0]
    assert packed.blocks[:, 2].tolist() == [0, 6, 10]


def test_groups_read_other_channels_and_never_share_a_block() -> None:
    """Two groups of 3 rows in tiles of 2: a full and a short block each; group 1 reads 100 further on."""
    matrix = np.arange(1, 13).reshape(6, 2)
    packed = pack(matrix, tile_m=2, groups=2, group_offset=100)
    assert packed.blocks[:, 3].tolist() == [0, 2, 3, 5]
    assert packed.blocks[:, 4].tolist() == [2, 1, 2, 1]
    assert packed.offsets.tolist() == [0, 1, 100, 101]
    assert packed.blocks[:, 0].tolist() == [0, 0, 2, 2]
    assert packed.bias.tolist() == [[0, 1], [2, 0], [3, 4], [5, 0]]
    assert unpack(packed, rows=6, columns=2, group_offset=100, groups=2).tolist() == matrix.tolist()


def test_entries_before_each_chunk_of_columns() -> None:
    """Five columns in chunks of two: the last has one, and the second block keeps nothing before it."""
    packed = pack_columns(MATRIX, bias=BIAS, column_offsets=OFFSETS, tile_m=2, chunk_columns=2)
    assert packed.chunk_starts is not None
    assert packed.chunk_starts.tolist() == [[0, 1, 2, 2], [0, 0, 0, 1]]
    assert packed.chunk_starts.dtype == np.int32
    assert pack(MATRIX, tile_m=2).chunk_starts is None


def test_largest_list_of_a_work_group() -> None:
    """Three row blocks, two to a work-group; the last work-group has one."""
    packed = pack(np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]]), tile_m=1, together=2)
    assert packed.blocks[:, 1].tolist() == [1, 3, 0]
    assert packed.blocks[:, 5].tolist() == [3, 3, 0]


def test_values_survive_unchanged() -> None:
    """Smallest and largest magnitudes, and a negative zero, which counts as removed."""
    tiny = np.float32(1e-45)
    packed = pack(np.array([[tiny, -0.0, 3.0e38]]), tile_m=1)
    assert packed.values.tolist() == [float(tiny), float(np.float32(3.0e38))]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_packing_loses_nothing(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 3))
    rows = groups * data.draw(st.integers(1, 9))
    columns, tile_m = data.draw(st.integers(1, 11)), data.draw(st.integers(1, 10))
    together = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    matrix = rng.standard_normal((rows, columns)).astype(np.float32)
    matrix[rng.random(matrix.shape) < data.draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))] = 0
    packed = pack(matrix, tile_m=tile_m, groups=groups, group_offset=1000, together=together)
    assert np.array_equal(unpack(packed, rows=rows, columns=columns, group_offset=1000, groups=groups), matrix)
    assert np.count_nonzero(matrix) / matrix.size <= packed.kept_share <= 1
    for first in range(0, len(packed.blocks), together):
        part = packed.blocks[first : first + together]
        assert set(part[:, 5].tolist()) == {int(part[:, 1].max())}


def test_lists_are_filled_up_to_whole_chunks() -> None:
    """With the last kept column and zeros; one chunk more is behind the last list and its values."""
    packed = pack_columns(MATRIX, bias=BIAS, column_offsets=OFFSETS, tile_m=2, whole=3)
    assert packed.offsets.tolist() == [10, 13, 13, 14, 14, 14, 10, 10, 10]
    assert packed.values.tolist() == [1, 3, 2, 0, 0, 0] + [4, 0, 0, 0, 0, 0] + [0] * 6
    assert packed.blocks[:, :3].tolist() == [[0, 3, 0], [3, 3, 6]]
    assert packed.kept_share == (2 * 2 + 1 * 1) / 15


def test_full_lists_are_shared_in_chunks_too() -> None:
    packed = pack_columns(np.ones((3, 2), np.float32), bias=BIAS, column_offsets=OFFSETS[:2], tile_m=2, whole=4)
    assert packed.offsets.tolist() == [10, 11, 11, 11] + [10] * 4
    assert packed.blocks[:, :3].tolist() == [[0, 4, 0], [0, 4, 8]]


def test_nothing_kept_is_no_chunk() -> None:
    packed = pack_columns(np.zeros((2, 2), np.float32), bias=BIAS[:2], column_offsets=OFFSETS[:2], tile_m=2, whole=4)
    assert packed.blocks.tolist() == [[0, 0, 0, 0, 2, 0]]


def test_row_blocks_of_work_items_share_a_list() -> None:
    packed = pack_columns(
        np.ones((6, 1), np.float32), bias=np.zeros(6, np.float32), column_offsets=OFFSETS[:1], tile_m=8
    )
    blocks = divided(packed, 4).blocks
    assert blocks[:, :3].tolist() == [[0, 1, 0]] * 4
    assert blocks[:, 3].tolist() == [0, 2, 4, 6]
    assert blocks[:, 4].tolist() == [2, 2, 2, 0]
