"""Rows side by side whose entries, step by step, lie within a short window of the input: a CPU looks such inputs up in
two vector registers, several times faster than it gathers them from memory.

Ours: each vector of rows walks along the input. A step's window begins where the lane that is furthest behind goes on;
every lane whose next entry lies in it takes that entry, and the others wait. At 90 % of single weights removed, and
windows of 32 inputs for 16 rows, six lanes out of ten have an entry at each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clprune.packing.arrays import FloatArray, IntArray
from clprune.packing.row_lanes import PackedLanes, fill_lanes, sorted_rows
from clprune.packing.rows import CompressedRows

_END = np.iinfo(np.int32).max


@dataclass(frozen=True, kw_only=True, eq=False)
class _Walk:
    """`steps` int32 per entry: when it is taken; `starts` int32 `[steps, vectors]`: where each window begins;
    `lengths` `[vectors]`: steps until the last entry.
    """

    steps: IntArray
    starts: IntArray
    lengths: npt.NDArray[np.intp]


def pack_windows(
    entries: CompressedRows,
    *,
    bias: FloatArray,
    column_offsets: IntArray,
    tile_m: int,
    vector_width: int,
    window: int,
    scales: FloatArray | None = None,
) -> PackedLanes:
    """Pack `entries` with `bias` `[rows]` into blocks of `tile_m` rows, longest first, windows per vector.

    `column_offsets`: see pack_lanes. `window`: inputs, at most 256 and at most as many as the input extends over, so
    that none reaches beyond it. Offsets are places in a step's window.
    """
    vectors = tile_m // vector_width
    order, rows = sorted_rows(entries.lengths, tile_m=tile_m)
    offsets = column_offsets[entries.columns]
    extent = int(column_offsets[-1]) + 1
    walk = _walk(entries, offsets, rows=rows, vector_width=vector_width, window=window, extent=extent)
    block_steps = walk.lengths.reshape(-1, vectors).max(axis=1)
    first_steps = np.cumsum(block_steps) - block_steps
    rank = np.empty(entries.rows, np.intp)
    rank[order] = np.arange(entries.rows)
    block, lane = np.divmod(rank, tile_m)
    base, vector = first_steps[block] * tile_m + lane, rank // vector_width
    place = np.repeat(base, entries.lengths) + walk.steps.astype(np.intp) * tile_m
    in_window = offsets - walk.starts[walk.steps, np.repeat(vector, entries.lengths)]
    starts = _by_block(walk.starts, block_steps=block_steps, first_steps=first_steps, vectors=vectors)
    return fill_lanes(
        entries, rows=rows, place=place, values=entries.values, offsets=in_window.astype(np.uint8),
        block_steps=block_steps, starts=starts, bias=bias, scales=scales,
    )  # fmt: skip


def _walk(
    entries: CompressedRows, offsets: IntArray, *, rows: IntArray, vector_width: int, window: int, extent: int
) -> _Walk:
    """Step by step, all vectors of `rows` at once. Windows begin at multiples of a vector, as cache lines do."""
    # Behind each row's last entry stands an end that is never taken.
    ends = entries.starts[1:].astype(np.intp)
    ahead = np.insert(offsets.astype(np.int32), ends, _END)
    first_ahead = entries.starts[:-1] + np.arange(entries.rows)
    following = np.where(rows >= 0, first_ahead[np.maximum(rows, 0)], len(ahead) - 1)
    taken_at = np.zeros(len(ahead), np.int32)
    starts: list[IntArray] = []
    lengths = np.zeros(len(rows) // vector_width, np.intp)
    while True:
        offset = ahead[following].reshape(-1, vector_width)
        behind = offset.min(axis=1)
        active = behind != _END
        if not active.any():
            break
        lengths += active
        start = np.where(active, np.minimum(behind - behind % vector_width, extent - window), 0)
        taken = ((offset < (start + window)[:, None]) & active[:, None]).reshape(-1)
        taken_at[following[taken]] = len(starts)
        starts.append(start)
        following += taken
    steps = taken_at[ahead != _END]
    return _Walk(steps=steps, starts=np.array(starts, np.int32).reshape(-1, len(lengths)), lengths=lengths)


def _by_block(
    starts: IntArray, *, block_steps: npt.NDArray[np.intp], first_steps: npt.NDArray[np.intp], vectors: int
) -> IntArray:
    """The windows of all blocks one behind the other, `[steps, vectors]`; at least one element."""
    block = np.repeat(np.arange(len(block_steps)), block_steps)
    step = np.arange(len(block)) - first_steps[block]
    found = starts[step[:, None], block[:, None] * vectors + np.arange(vectors)].reshape(-1)
    return found if found.size else np.zeros(1, np.int32)
