"""Column lists for matrix instructions: weights in the order in which the lanes of a warp hold them.

A step of `columns` kept columns is one fragment per 16 rows: what each lane needs lies side by side, so that a warp
loads a step's weights as one run. Lists are filled up to whole steps with weights of zero, at a column that counts
already: nothing is read there that the sum would not hold anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.packing.arrays import IntArray, never_empty
from clprune.packing.columns import PackedColumns


@dataclass(frozen=True, kw_only=True, eq=False)
class FragmentOrder:
    """Which element of a step `[16 rows, columns]` each lane holds: `rows`, `columns_of` `[lanes, elements]`."""

    columns: int
    rows: npt.NDArray[np.int64]
    columns_of: npt.NDArray[np.int64]

    @property
    def unit_rows(self) -> int:
        """Rows of one fragment."""
        return int(self.rows.max()) + 1


def pack_fragments(packed: PackedColumns, order: FragmentOrder, *, dtype: npt.DTypeLike) -> PackedColumns:
    """`packed` with each row block's values `[steps, tile_m / 16, lanes, elements]` as `dtype`, two of 16 bits to a
    word, seen as uint32. Of `blocks` "kept" counts the filled columns; row blocks that shared a list still do.
    """
    lists: list[IntArray] = []
    starts: dict[tuple[int, int], int] = {}
    values: list[npt.NDArray[np.uint32]] = []
    blocks = packed.blocks.copy()
    list_start = value_start = 0
    for block, (start, kept, value, *_) in zip(blocks, packed.blocks.tolist(), strict=True):
        filled = -(-kept // order.columns) * order.columns
        if (start, kept) not in starts:
            starts[start, kept] = list_start
            lists.append(
                np.pad(packed.offsets[start : start + kept], (0, filled - kept), mode="edge" if kept else "empty")
            )
            list_start += filled
        words = _in_order(packed.values[value : value + kept * packed.tile_m], packed.tile_m, filled, order, dtype)
        block[:3] = starts[start, kept], filled, value_start
        value_start += words.size
        values.append(words)
    blocks[:, 5] = blocks[:, 1]
    return replace(
        packed,
        values=never_empty(np.concatenate(values)),
        offsets=never_empty(np.concatenate(lists).astype(np.int32)),
        blocks=blocks,
    )


def _in_order(
    values: npt.NDArray[Any], tile_m: int, filled: int, order: FragmentOrder, dtype: npt.DTypeLike
) -> npt.NDArray[np.uint32]:
    """One row block's values `[kept, tile_m]` as words, filled up to whole steps."""
    matrix = np.zeros((filled, tile_m), dtype)
    matrix[: values.size // tile_m] = values.reshape(-1, tile_m)
    steps = matrix.reshape(-1, order.columns, tile_m // order.unit_rows, order.unit_rows)
    fragments = steps[:, order.columns_of, :, order.rows]  # [lanes, elements, steps, units of 16 rows]
    return np.ascontiguousarray(fragments.transpose(2, 3, 0, 1)).reshape(-1).view(np.uint32)
