"""Lists and values of matrices in the Winograd domain, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.packing.winograd import PackedWinograd, pack_winograd


def unpacked(packed: PackedWinograd, *, channels: int, channel_stride: int) -> np.ndarray:
    """U `[matrices, row blocks * tile_m, channels]` that the lists and values describe."""
    row_blocks, matrices, _ = packed.blocks.shape
    u = np.zeros((matrices, row_blocks * packed.tile_m, channels), np.float32)
    for block in range(row_blocks):
        for xi in range(matrices):
            start, kept, value = packed.blocks[block, xi]
            for k in range(kept):
                channel = packed.offsets[start + k] // channel_stride
                rows = slice(block * packed.tile_m, (block + 1) * packed.tile_m)
                u[xi, rows, channel] += packed.values[value + k * packed.tile_m :][: packed.tile_m]
    return u


def test_by_hand() -> None:
    """One matrix, three rows in blocks of two, three channels: channel 1 is needed by no row of the first block."""
    u = np.array([[1, 0, 2], [3, 0, 0], [0, 5, 0]], np.float32).reshape(1, 1, 3, 3)
    packed = pack_winograd(u, bias=np.array([7, 8, 9], np.float32), tile_m=2, channel_stride=10)
    assert packed.blocks.tolist() == [[[0, 2, 0]], [[2, 1, 4]]]
    assert packed.offsets[:3].tolist() == [0, 20, 10]
    assert packed.values[:6].tolist() == [1, 3, 2, 0, 5, 0]
    assert packed.bias.tolist() == [[7, 8], [9, 0]]
    assert packed.kept_share == pytest.approx(5 / 9)
    assert packed.imbalance == pytest.approx(2 / 1.5)


def test_full_lists_are_one() -> None:
    packed = pack_winograd(np.ones((4, 4, 6, 5), np.float32), bias=np.zeros(6, np.float32), tile_m=4, channel_stride=3)
    assert packed.offsets[:5].tolist() == [0, 3, 6, 9, 12]
    assert len(packed.offsets) == 6
    assert not packed.blocks[:, :, 0].any()
    assert packed.kept_share == 1
    assert packed.imbalance == 1


def test_values_follow_the_sweep() -> None:
    """Two matrices, four row blocks, sweeps of two: matrix by matrix within a sweep."""
    u = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 4, 1)
    packed = pack_winograd(u, bias=np.zeros(4, np.float32), tile_m=1, sweep=2)
    assert packed.values[:8].tolist() == [1, 2, 5, 6, 3, 4, 7, 8]
    packed = pack_winograd(u, bias=np.zeros(4, np.float32), tile_m=1, sweep=0)
    assert packed.values[:8].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_everything_removed() -> None:
    packed = pack_winograd(np.zeros((4, 4, 3, 2), np.float32), bias=np.zeros(3, np.float32), tile_m=2)
    assert packed.kept_share == 0
    assert packed.imbalance == 1
    assert packed.values.size > 0
    assert packed.offsets.size > 0


@pytest.mark.parametrize("tile_m", [1, 2, 3, 8])
@pytest.mark.parametrize("sweep", [0, 1, 2])
def test_round_trip(tile_m: int, sweep: int) -> None:
    generator = np.random.default_rng(3)
    u = generator.standard_normal((4, 4, 7, 5)).astype(np.float32)
    u[generator.random(u.shape) < 0.7] = 0
    packed = pack_winograd(u, bias=np.zeros(7, np.float32), tile_m=tile_m, channel_stride=16, sweep=sweep, lookahead=4)
    np.testing.assert_array_equal(unpacked(packed, channels=5, channel_stride=16)[:, :7], u.reshape(16, 7, 5))
    assert packed.offsets[-4:].tolist() == [0, 0, 0, 0]
    assert packed.size_bytes == sum(a.nbytes for a in (packed.values, packed.offsets, packed.blocks, packed.bias))


@pytest.mark.parametrize("is_full", [False, True], ids=["removed", "full"])
def test_lists_of_whole_chunks(*, is_full: bool) -> None:
    """Filled up with their last channel and zeros; behind the last as much again, for kernels that read ahead."""
    generator = np.random.default_rng(5)
    u = generator.standard_normal((4, 4, 7, 5)).astype(np.float32)
    if not is_full:
        u[generator.random(u.shape) < 0.7] = 0
        u[1, 2] = 0
    packed = pack_winograd(u, bias=np.zeros(7, np.float32), tile_m=4, channel_stride=16, sweep=0, whole=4)
    np.testing.assert_array_equal(unpacked(packed, channels=5, channel_stride=16)[:, :7], u.reshape(16, 7, 5))
    starts, lengths, values = packed.blocks.transpose(2, 0, 1)
    assert not (starts % 4).any()
    assert not (lengths % 4).any()
    assert lengths.max() == 8
    assert len(packed.values) == (lengths.sum() + 4) * 4
    assert (values + lengths * 4).max() == lengths.sum() * 4
    assert packed.offsets[-4:].tolist() == [0, 0, 0, 0]
    assert len(packed.offsets) == (8 if is_full else lengths.sum()) + 4
    if is_full:
        assert packed.offsets[:8].tolist() == [0, 16, 32, 48, 64, 64, 64, 64]
    else:
        assert lengths[:, 6].tolist() == [0, 0]
