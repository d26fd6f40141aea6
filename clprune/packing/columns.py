"""Column lists: per block of consecutive rows, the columns of K that hold any weight, and their values.

What is skipped follows from the zeros alone, so a model pruned for one device runs on every other: a row block of
`tile_m` rows keeps a column when any of its rows needs it. With `tile_m` dividing the pruning unit's rows everything
removed is skipped; a taller tile skips what all its units share (`PackedColumns.kept_share` says how much that is).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.geometry import round_up
from clprune.packing.arrays import FloatArray, IntArray, PackedArrays, longest_over_mean, never_empty

#: Fields of one row of `PackedColumns.blocks`, in order.
BLOCK_FIELDS = ("list_start", "kept", "value_start", "first_row", "rows", "group_kept")


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedColumns(PackedArrays):
    """Compact form of a matrix `[rows, columns]` for kernels that compute `tile_m` rows at once.

    values: in the matrix's dtype, per row block `[kept, tile_m]`, short blocks filled with zero rows.
    offsets: int32, the lists; the meaning of an entry is the caller's (`column_offsets`).
    blocks: int32 `[row blocks, 6]`, see BLOCK_FIELDS.
    bias, scales: float32 `[row blocks, tile_m]`, zeros behind the last row of a short block; no scales where none are.
    codebook: float32, what the values are places in, where they are.
    kept_share: weights multiplied (without fill) over weights of the dense matrix.
    chunk_starts: int32 `[row blocks, chunks + 1]`, how many entries of a list come before each chunk of K, at last all;
    None where K is in one piece.
    """

    tile_m: int
    offsets: IntArray
    blocks: IntArray
    chunk_starts: IntArray | None = None

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"weights" if name == "values" else name: array for name, array in super().arrays.items()}

    @property
    def imbalance(self) -> float:
        """The longest list of a row block over the mean."""
        return longest_over_mean(self.blocks[:, 1])


def pack_columns(
    matrix: npt.NDArray[Any],
    *,
    bias: FloatArray,
    column_offsets: IntArray,
    tile_m: int,
    groups: int = 1,
    group_offset: int = 0,
    blocks_per_group: int = 1,
    lookahead: int = 0,
    whole: int = 1,
    scales: FloatArray | None = None,
    codebook: FloatArray | None = None,
    chunk_columns: int = 0,
) -> PackedColumns:
    """Pack `matrix` `[rows, columns]` of any dtype with `bias` `[rows]` into row blocks of `tile_m`.

    `column_offsets` int32 `[columns]` is what a list holds for each column; rows of group g of `groups` add
    `g * group_offset` to it (grouped convolution reads other input channels). Row blocks never straddle groups.
    `blocks_per_group`: row blocks that one work-group computes together; each block's `group_kept` is the largest
    `kept` among them. A row block that keeps every column shares its group's one full list. `lookahead` entries that
    point at the first column follow the last list, for kernels that read ahead. Lists are filled up to multiples of
    `whole` columns, with the last kept one and zeros as weights; as much fill follows the last. `scales` `[rows]`
    are packed like the bias. With `codebook` the matrix holds places in it, and what counts is whether the value there
    is zero. `chunk_columns`: columns of K in a chunk, for kernels that go through it in several; 0: they do not.
    """
    is_weight = None if codebook is None else codebook != 0
    rows, columns = matrix.shape
    group_rows = rows // groups
    spans = [
        (group, first, min(tile_m, (group + 1) * group_rows - first))
        for group in range(groups)
        for first in range(group * group_rows, (group + 1) * group_rows, tile_m)
    ]
    parts = [matrix[first : first + count] for _, first, count in spans]
    used = [np.any(part != 0 if is_weight is None else is_weight[part], axis=0) for part in parts]
    kept_counts = [int(np.count_nonzero(columns_used)) for columns_used in used]
    # in place: the lists of a large layer take as much memory as its weights
    ahead = whole if whole > 1 else 0
    values = np.zeros((sum(round_up(kept, whole) for kept in kept_counts) + ahead) * tile_m, matrix.dtype)
    lists: list[IntArray] = []
    blocks: list[tuple[int, int, int, int, int]] = []
    full_lists: dict[int, int] = {}
    list_start = value_start = 0
    for (group, first, count), part, columns_used, kept in zip(spans, parts, used, kept_counts, strict=True):
        length = round_up(kept, whole)
        filled = values[value_start : value_start + kept * tile_m].reshape(kept, tile_m)
        filled[:, :count] = (part if kept == columns else part[:, columns_used]).T
        start = full_lists.get(group, list_start) if kept == columns else list_start
        if start == list_start:
            entries = (column_offsets + np.int32(group * group_offset))[columns_used]
            lists += [entries, np.repeat(entries[-1:], length - kept)]
            list_start += length
        if kept == columns:
            full_lists[group] = start
        blocks.append((start, length, value_start, first, count))
        value_start += length * tile_m
    return PackedColumns(
        tile_m=tile_m,
        values=never_empty(values),
        offsets=never_empty(np.concatenate([*lists, np.repeat(column_offsets[:1], lookahead + ahead)])),
        blocks=_with_group_kept(np.array(blocks, np.int32), blocks_per_group),
        bias=_row_blocks(bias, blocks, tile_m),
        kept_share=sum(kept * count for kept, (_, _, count) in zip(kept_counts, spans, strict=True)) / matrix.size,
        scales=None if scales is None else _row_blocks(scales, blocks, tile_m),
        codebook=codebook,
        chunk_starts=_chunk_starts(used, chunk_columns) if chunk_columns else None,
    )


def _chunk_starts(used: list[npt.NDArray[np.bool_]], chunk_columns: int) -> IntArray:
    """Per row block how many of the columns that it uses come before each chunk of K; at last all of them."""
    columns = len(used[0])
    starts = [*range(0, columns, chunk_columns), columns]
    return np.array([np.append(0, np.cumsum(columns_used))[starts] for columns_used in used], np.int32)


def divided(packed: PackedColumns, parts: int) -> PackedColumns:
    """The same with `parts` row blocks in place of each, which share its list and values: those of as many work-items
    side by side. `tile_m` still says what lies together.
    """
    rows = packed.tile_m // parts
    blocks = np.repeat(packed.blocks, parts, axis=0)
    number = np.tile(np.arange(parts, dtype=np.int32), len(packed.blocks))
    blocks[:, 3] += number * rows
    blocks[:, 4] = np.clip(blocks[:, 4] - number * rows, 0, rows)
    return replace(packed, blocks=blocks)


def _with_group_kept(blocks: IntArray, blocks_per_group: int) -> IntArray:
    kept = blocks[:, 1]
    starts = np.arange(0, len(blocks), blocks_per_group)
    largest = np.maximum.reduceat(kept, starts)
    return np.column_stack([blocks, np.repeat(largest, blocks_per_group)[: len(blocks)]]).astype(np.int32)


def _row_blocks(values: FloatArray, blocks: list[tuple[int, int, int, int, int]], tile_m: int) -> FloatArray:
    packed = np.zeros((len(blocks), tile_m), np.float32)
    for row, (_, _, _, first, count) in zip(packed, blocks, strict=True):
        row[:count] = values[first : first + count]
    return packed
