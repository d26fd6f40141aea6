"""Compressed rows as kernels read them: grouped in blocks of about equally many entries, longest rows first."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.packing.arrays import FloatArray, IntArray, PackedArrays, longest_over_mean
from clprune.packing.rows import CompressedRows

#: Fields of one row of `PackedRows.rows`, in order.
ROW_FIELDS = ("first_entry", "entries", "row")


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows(PackedArrays):
    """Entries of a matrix `[rows, columns]` that are not zero, for kernels that compute one row after another.

    values: per entry, in any dtype.
    offsets: int32 per entry; its meaning is the caller's (`column_offsets`).
    rows: int32 `[rows, 3]`, see ROW_FIELDS, in the order in which blocks hold them.
    blocks: int32 `[blocks + 1]`: block b holds rows `blocks[b]` to `blocks[b + 1]` of `rows`.
    bias: float32 `[rows]`, in the matrix's order.
    kept_share: entries over weights of the dense matrix.
    """

    offsets: IntArray
    rows: IntArray
    blocks: IntArray

    @property
    def imbalance(self) -> float:
        """Entries of the fullest block over the mean."""
        entries = self.rows[:, ROW_FIELDS.index("entries")]
        return longest_over_mean(np.add.reduceat(entries, self.blocks[:-1]))


def balanced_blocks(lengths: npt.NDArray[np.integer[Any]], *, block_rows: int) -> list[list[int]]:
    """Rows in `ceil(rows / block_rows)` blocks whose sums of `lengths` are about equal, the heaviest block first.

    The longest row that is left goes to the block that holds least (Graham, 1969: at most 4/3 of the best balance);
    of blocks that hold as much, to the one with fewer rows.
    """
    count = -(-len(lengths) // block_rows)
    blocks: list[list[int]] = [[] for _ in range(count)]
    least = [(0, 0, block) for block in range(count)]
    for row in np.argsort(-lengths, kind="stable").tolist():
        entries, rows, block = heapq.heappop(least)
        blocks[block].append(row)
        heapq.heappush(least, (entries + int(lengths[row]), rows + 1, block))
    held = {block: entries for entries, _, block in least}
    return [blocks[block] for block in sorted(range(count), key=lambda block: (-held[block], block))]


def pack_rows(
    entries: CompressedRows,
    *,
    bias: FloatArray,
    column_offsets: IntArray,
    block_rows: int,
    groups: int = 1,
    group_offset: int = 0,
    lookahead: int = 0,
    scales: FloatArray | None = None,
) -> PackedRows:
    """Pack `entries` with `bias` `[rows]` into blocks of `block_rows` rows on average.

    `column_offsets` int32 `[columns]` is what an entry holds for its column; rows of group g of `groups` add
    `g * group_offset` to it (grouped convolution reads other input channels). `lookahead` entries that point at the
    first column follow the last, for kernels that read ahead.
    """
    blocks = balanced_blocks(entries.lengths, block_rows=block_rows)
    order = np.array([row for block in blocks for row in block], np.int64)
    lengths = entries.lengths[order]
    first_entries = np.cumsum(lengths) - lengths
    places = np.repeat(entries.starts[order] - first_entries, lengths) + np.arange(len(entries.values))
    group = np.repeat(order // (entries.rows // groups), lengths)
    offsets = column_offsets[entries.columns[places]] + (group * group_offset).astype(np.int32)
    return PackedRows(
        values=np.concatenate([entries.values[places], np.zeros(max(lookahead, 1), entries.values.dtype)]),
        offsets=np.concatenate([offsets, np.repeat(column_offsets[:1], max(lookahead, 1))]).astype(np.int32),
        rows=np.column_stack([first_entries, lengths, order]).astype(np.int32),
        blocks=np.cumsum([0, *map(len, blocks)]).astype(np.int32),
        bias=bias,
        kept_share=entries.kept_share,
        scales=scales,
    )
