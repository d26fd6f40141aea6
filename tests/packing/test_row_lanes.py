"""Rows side by side, unpacked again by a walk over the steps, and against packings written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.packing.row_lanes import PackedLanes, pack_lanes
from clprune.packing.rows import CompressedRows


def packed_lanes(matrix: list[list[float]] | np.ndarray, *, tile_m: int, offset_bits: int) -> PackedLanes:
    entries = CompressedRows.from_dense(np.array(matrix, np.float32))
    return pack_lanes(
        entries,
        bias=np.arange(1, entries.rows + 1, dtype=np.float32),
        column_offsets=np.arange(entries.columns_count, dtype=np.int32),
        tile_m=tile_m,
        offset_bits=offset_bits,
    )


def walked(packed: PackedLanes, *, rows: int, columns: int, offset_bits: int) -> np.ndarray:
    """The matrix as a kernel's lanes see it."""
    matrix = np.zeros((rows, columns), np.float32)
    for block, (first, steps) in enumerate(packed.blocks):
        for lane in range(packed.tile_m):
            row, offset = packed.rows[block * packed.tile_m + lane], packed.starts[block * packed.tile_m + lane]
            for step in range(first, first + steps):
                place = step * packed.tile_m + lane
                offset = offset + packed.offsets[place] if offset_bits == 8 else packed.offsets[place]
                if packed.values[place]:
                    matrix[row, offset] += packed.values[place]
    return matrix


def test_rows_of_like_length_lie_side_by_side() -> None:
    packed = packed_lanes([[0, 0, 1], [2, 3, 4], [0, 0, 0], [0, 5, 6]], tile_m=2, offset_bits=32)
    assert packed.rows.tolist() == [1, 3, 0, 2]
    assert packed.blocks.tolist() == [[0, 3], [3, 1]]
    assert packed.values.tolist() == [2, 5, 3, 6, 4, 0, 1, 0]
    assert packed.offsets.tolist() == [0, 1, 1, 2, 2, 0, 2, 0]
    assert packed.bias.tolist() == [2, 4, 1, 3]
    assert packed.kept_share == 6 / 12


def test_short_block_and_nothing_left() -> None:
    packed = packed_lanes(np.zeros((3, 4)), tile_m=2, offset_bits=8)
    assert packed.rows.tolist() == [0, 1, 2, -1]
    assert packed.blocks.tolist() == [[0, 0], [0, 0]]
    assert packed.values.size == packed.offsets.size == 1


def test_distances_longer_than_a_byte() -> None:
    matrix = np.zeros((1, 1100), np.float32)
    matrix[0, [300, 301, 556, 1099]] = [1, 2, 3, 4]
    packed = packed_lanes(matrix, tile_m=1, offset_bits=8)
    assert packed.starts.tolist() == [300]
    assert packed.offsets.tolist() == [0, 1, 255, 255, 255, 33]
    assert packed.values.tolist() == [1, 2, 3, 0, 0, 4]


@pytest.mark.parametrize("offset_bits", [8, 16, 32])
@pytest.mark.parametrize("tile_m", [1, 4])
def test_round_trip_of_ragged_rows(offset_bits: int, tile_m: int) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((11, 900)).astype(np.float32)
    matrix[rng.random(matrix.shape) < rng.uniform(0.9, 1.0, (11, 1))] = 0
    matrix[4] = 0
    matrix[7] = 0
    matrix[7, 899] = 1
    packed = packed_lanes(matrix, tile_m=tile_m, offset_bits=offset_bits)
    assert np.array_equal(walked(packed, rows=11, columns=900, offset_bits=offset_bits), matrix)
    assert packed.offsets.itemsize == offset_bits // 8
