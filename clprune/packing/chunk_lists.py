"""Entries of a sparse matrix for kernels that hold a few input channels, a chunk, in local memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.packing.arrays import FloatArray, IntArray, PackedArrays, longest_over_mean, never_empty
from clprune.packing.rows import CompressedRows


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedChunkLists(PackedArrays):
    """Entries of a matrix `[rows, columns]` that are not zero, by (block of rows, chunk of columns, row of the block).

    values: per entry, in any dtype.
    offsets: uint16 per entry; its meaning is the caller's (`column_offsets`).
    lists: int32 `[rows * chunks + 1]`: where each of these lists begins among the entries, and where the last ends.
    ends: int32 `[rows * chunks + 1]`: where each ends, where lists begin at multiples of some number; behind them, for
    kernels that read ahead, a number, and so many entries. Else None.
    channels: int32 `[rows]`: the rows of the matrix in the order of blocks.
    blocks: int32 `[blocks + 1]`: block b holds `channels[blocks[b]]` to `channels[blocks[b + 1]]`.
    bias: float32 `[rows]`, in the matrix's order.
    kept_share: entries over weights of the dense matrix.
    """

    offsets: npt.NDArray[np.uint16]
    lists: IntArray
    channels: IntArray
    blocks: IntArray
    ends: IntArray | None = None

    @property
    def imbalance(self) -> float:
        """Entries of the fullest block over the mean."""
        chunks = (len(self.lists) - 1) // max(len(self.channels), 1)
        return longest_over_mean(np.diff(self.lists[self.blocks * chunks]))


def deal_rows(lengths: npt.NDArray[np.integer[Any]], *, block_rows: int) -> list[npt.NDArray[np.int64]]:
    """Rows in `ceil(rows / block_rows)` blocks of as many rows, give or take one, and about as many entries.

    The longest rows are dealt out one to a block, the next ones in the opposite order, and so on; within a block they
    keep their order.
    """
    count = -(-len(lengths) // block_rows)
    place = np.arange(len(lengths))
    turn, seat = place // count, place % count
    block = np.where(turn % 2 == 0, seat, count - 1 - seat)
    order = np.argsort(-lengths, kind="stable")
    return [np.sort(order[block == number]) for number in range(count)]


def pack_chunk_lists(
    entries: CompressedRows,
    *,
    bias: FloatArray,
    column_offsets: IntArray,
    column_chunks: IntArray,
    block_rows: int,
    whole: int = 0,
    scales: FloatArray | None = None,
) -> PackedChunkLists:
    """Pack `entries` with `bias` `[rows]` into blocks of at most `block_rows` rows.

    `column_offsets` and `column_chunks` `[columns]`: what an entry holds for its column, below 65536, and the chunk
    that the column belongs to, ascending. `whole`: lists begin at multiples of it; 0: one begins where another ends.
    """
    members = deal_rows(entries.lengths, block_rows=block_rows)
    sizes = np.array([len(rows) for rows in members])
    blocks = np.concatenate([[0], np.cumsum(sizes)])
    channels = np.concatenate(members)
    chunks = int(column_chunks[-1]) + 1
    block_of = np.repeat(np.arange(len(members)), sizes)
    first_list, lists_apart = np.empty(len(channels), np.int64), np.empty(len(channels), np.int64)
    first_list[channels] = blocks[block_of] * chunks + np.arange(len(channels)) - blocks[block_of]
    lists_apart[channels] = sizes[block_of]
    rows = entries.row_numbers
    list_of = first_list[rows] + column_chunks[entries.columns] * lists_apart[rows]
    order = np.argsort(list_of, kind="stable")
    counts = np.bincount(list_of, minlength=len(channels) * chunks)
    values, offsets = entries.values[order], column_offsets[entries.columns[order]].astype(np.uint16)
    lists = np.concatenate([[0], np.cumsum(counts + -counts % max(whole, 1))])
    if whole:
        place = np.arange(len(order)) + np.repeat(lists[:-1] - np.cumsum(counts) + counts, counts)
        values, offsets = (_placed(array, place, size=lists[-1] + whole) for array in (values, offsets))
    return PackedChunkLists(
        values=never_empty(values),
        offsets=never_empty(offsets),
        lists=lists.astype(np.int32),
        ends=np.append(lists[:-1] + counts, 0).astype(np.int32) if whole else None,
        channels=channels.astype(np.int32),
        blocks=blocks.astype(np.int32),
        bias=bias,
        kept_share=entries.kept_share,
        scales=scales,
    )


def _placed(values: npt.NDArray[Any], place: npt.NDArray[np.int64], *, size: int) -> npt.NDArray[Any]:
    """`values` where `place` says, zeros, which nothing multiplies, between them."""
    found = np.zeros(size, values.dtype)
    found[place] = values
    return found
