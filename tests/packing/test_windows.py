"""Rows side by side with windows: unpacked again by a walk over the steps, and a packing written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.packing.row_lanes import PackedLanes
from clprune.packing.rows import CompressedRows
from clprune.packing.windows import pack_windows


def packed_windows(matrix: np.ndarray, *, tile_m: int, vector_width: int, window: int, stride: int = 1) -> PackedLanes:
    entries = CompressedRows.from_dense(matrix.astype(np.float32))
    return pack_windows(
        entries,
        bias=np.arange(1, entries.rows + 1, dtype=np.float32),
        column_offsets=np.arange(entries.columns_count, dtype=np.int32) * stride,
        tile_m=tile_m,
        vector_width=vector_width,
        window=window,
    )


def walked(packed: PackedLanes, *, rows: int, columns: int, vector_width: int) -> np.ndarray:
    """The matrix `[rows, columns of x]` as a kernel's lanes see it."""
    matrix = np.zeros((rows, columns), np.float32)
    vectors = packed.tile_m // vector_width
    for block, (first, steps) in enumerate(packed.blocks):
        for lane in range(packed.tile_m):
            row = packed.rows[block * packed.tile_m + lane]
            for step in range(first, first + steps):
                place = step * packed.tile_m + lane
                offset = packed.starts[step * vectors + lane // vector_width] + packed.offsets[place]
                if packed.values[place]:
                    matrix[row, offset] += packed.values[place]
    return matrix


def test_lanes_wait_for_those_behind() -> None:
    """Windows of four inputs: row 0 takes columns 0 and 1 before row 1, which begins at 5, takes its first."""
    matrix = np.zeros((2, 10))
    matrix[0, [0, 1, 5]] = [1, 2, 3]
    matrix[1, [5, 9]] = [4, 5]
    packed = packed_windows(matrix, tile_m=2, vector_width=2, window=4)
    assert packed.blocks.tolist() == [[0, 4]]
    assert packed.starts.tolist() == [0, 0, 4, 6]
    assert packed.values.tolist() == [1, 0, 2, 0, 3, 4, 0, 5]
    assert packed.offsets.tolist() == [0, 0, 1, 0, 1, 1, 0, 3]
    assert packed.rows.tolist() == [0, 1]
    assert packed.bias.tolist() == [1, 2]


def test_nothing_left() -> None:
    packed = packed_windows(np.zeros((3, 8)), tile_m=2, vector_width=2, window=4)
    assert packed.rows.tolist() == [0, 1, 2, -1]
    assert packed.blocks.tolist() == [[0, 0], [0, 0]]
    assert packed.values.size == packed.offsets.size == packed.starts.size == 1


@pytest.mark.parametrize(("tile_m", "vector_width", "window"), [(4, 4, 8), (8, 4, 16), (16, 4, 32), (8, 8, 16)])
@pytest.mark.parametrize("stride", [1, 3])
def test_round_trip_of_ragged_rows(tile_m: int, vector_width: int, window: int, stride: int) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((21, 300)).astype(np.float32)
    matrix[rng.random(matrix.shape) < rng.uniform(0.7, 1.0, (21, 1))] = 0
    matrix[4] = 0
    matrix[7] = 0
    matrix[7, 299] = 1
    packed = packed_windows(matrix, tile_m=tile_m, vector_width=vector_width, window=window, stride=stride)
    extent = 299 * stride + 1
    assert np.array_equal(walked(packed, rows=21, columns=extent, vector_width=vector_width)[:, ::stride], matrix)
    assert packed.starts.min() >= 0
    assert packed.starts.max() <= extent - window
    assert packed.offsets.max() < window
    assert packed.kept_share == np.count_nonzero(matrix) / matrix.size
