"""Compressed rows side by side: rows of like length form a block, whose lanes follow one row each, step by step.

Sliced ELLPACK with rows sorted by length (SELL-C-sigma, Kreutzer et al., arXiv:1307.6209, with sigma = all rows): a
block takes as many steps as its longest row has entries. Ours: columns as 8-bit distances from one entry to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.packing.arrays import FloatArray, IntArray, PackedArrays, longest_over_mean
from clprune.packing.rows import CompressedRows

#: Bits of an entry's offset -> its dtype. 8 bits hold the distance from the entry before it.
OFFSET_TYPES: dict[int, type[np.integer[Any]]] = {8: np.uint8, 16: np.uint16, 32: np.int32}
_LARGEST_DISTANCE = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedLanes(PackedArrays):
    """A matrix `[rows, columns]` in blocks of `tile_m` rows, for kernels whose lanes compute a row each.

    values, offsets: per block `[steps, tile_m]`; lanes of shorter rows are filled with zeros.
    blocks: int32 `[row blocks, 2]`: first step, steps.
    rows: int32 `[row blocks, tile_m]`: the output of each lane, -1 where there is none.
    starts: int32 `[row blocks, tile_m]`: what the distances of a lane add up to (8 bits only, else zeros); with windows
        (clprune/packing/windows.py) `[steps, vectors]`: where the window of a step begins.
    bias, scales: float32 `[row blocks, tile_m]`; no scales where none are. codebook: see PackedColumns.
    kept_share: entries without fill over weights of the dense matrix.
    """

    tile_m: int
    offsets: npt.NDArray[np.integer[Any]]
    blocks: IntArray
    rows: IntArray
    starts: IntArray

    @property
    def imbalance(self) -> float:
        """Steps of the longest block over the mean."""
        return longest_over_mean(self.blocks[:, 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Steps:
    """Entries as lanes walk over them, row after row: `offsets` or distances, `values`, and steps per row."""

    lengths: npt.NDArray[np.intp]
    offsets: npt.NDArray[np.integer[Any]]
    values: npt.NDArray[Any]


def pack_lanes(
    entries: CompressedRows,
    *,
    bias: FloatArray,
    column_offsets: IntArray,
    tile_m: int,
    offset_bits: int,
    scales: FloatArray | None = None,
) -> PackedLanes:
    """Pack `entries` with `bias` `[rows]` into blocks of `tile_m` rows, longest first.

    `column_offsets` int32 `[columns]`, ascending, is what an entry holds for its column, below 65536 for an
    `offset_bits` of 16.
    """
    offsets = column_offsets[entries.columns]
    steps = _Steps(lengths=entries.lengths.astype(np.intp), offsets=offsets, values=entries.values)
    starts = np.zeros(entries.rows, np.int32)
    if offset_bits == 8:
        filled = np.flatnonzero(entries.lengths)
        starts[filled] = offsets[entries.starts[filled]]
        steps = _by_distance(entries, offsets=offsets)
    order, rows = sorted_rows(steps.lengths, tile_m=tile_m)
    block_steps = np.maximum.reduceat(steps.lengths[order], np.arange(0, entries.rows, tile_m))
    place = _places(steps, order=order, first_steps=np.cumsum(block_steps) - block_steps, tile_m=tile_m)
    return fill_lanes(
        entries, rows=rows, place=place, values=steps.values, offsets=steps.offsets.astype(OFFSET_TYPES[offset_bits]),
        block_steps=block_steps, starts=in_lanes(starts, rows), bias=bias, scales=scales,
    )  # fmt: skip


def sorted_rows(lengths: npt.NDArray[Any], *, tile_m: int) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Rows, longest first, and the same in whole blocks of `tile_m` lanes, -1 where a lane has none."""
    order = np.argsort(-lengths, kind="stable")
    rows = np.full(-(-len(order) // tile_m) * tile_m, -1, np.int32)
    rows[: len(order)] = order
    return order, rows


def fill_lanes(
    entries: CompressedRows,
    *,
    rows: IntArray,
    place: npt.NDArray[np.intp],
    values: npt.NDArray[Any],
    offsets: npt.NDArray[np.integer[Any]],
    block_steps: npt.NDArray[np.intp],
    starts: IntArray,
    bias: FloatArray,
    scales: FloatArray | None,
) -> PackedLanes:
    """Blocks of `block_steps` steps, with `values` and `offsets` where `place` says and zeros everywhere else."""
    tile_m = len(rows) // len(block_steps)
    size = max(1, int(block_steps.sum()) * tile_m)
    lane_values, lane_offsets = np.full(size, entries.zero, values.dtype), np.zeros(size, offsets.dtype)
    lane_values[place], lane_offsets[place] = values, offsets
    return PackedLanes(
        tile_m=tile_m,
        values=lane_values,
        offsets=lane_offsets,
        blocks=np.column_stack([np.cumsum(block_steps) - block_steps, block_steps]).astype(np.int32),
        rows=rows,
        starts=starts,
        bias=in_lanes(bias, rows),
        kept_share=entries.kept_share,
        scales=None if scales is None else in_lanes(scales, rows),
    )


def _by_distance(entries: CompressedRows, *, offsets: IntArray) -> _Steps:
    """Distances that 8 bits hold: where one is longer, entries of zero lie in between."""
    distances = np.diff(offsets, prepend=0)
    first = entries.starts[:-1][entries.lengths > 0]
    distances[first] = 0
    extra = np.maximum(distances - 1, 0) // _LARGEST_DISTANCE
    ends = np.cumsum(1 + extra)
    size = int(ends[-1]) if ends.size else 0
    short = np.full(size, _LARGEST_DISTANCE, np.uint8)
    short[ends - 1] = distances - extra * _LARGEST_DISTANCE
    filled = np.full(size, entries.zero, entries.values.dtype)
    filled[ends - 1] = entries.values
    bounds = np.concatenate([[0], ends])[entries.starts]
    return _Steps(lengths=np.diff(bounds).astype(np.intp), offsets=short, values=filled)


def _places(
    steps: _Steps, *, order: npt.NDArray[np.intp], first_steps: npt.NDArray[np.intp], tile_m: int
) -> npt.NDArray[np.intp]:
    """Where each step of each row lies among its block's lanes."""
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    block, lane = np.divmod(rank, tile_m)
    starts = np.cumsum(steps.lengths) - steps.lengths
    base = (first_steps[block] - starts) * tile_m + lane
    places: npt.NDArray[np.intp] = np.repeat(base, steps.lengths) + np.arange(len(steps.offsets)) * tile_m
    return places


def in_lanes(values: npt.NDArray[Any], rows: IntArray) -> npt.NDArray[Any]:
    """What each row has, `[row blocks, tile_m]`; 0 for lanes without a row."""
    return np.where(rows >= 0, values[np.maximum(rows, 0)], 0).astype(values.dtype)
