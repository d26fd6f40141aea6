"""Column lists for matrix instructions: weights in the order in which the lanes of a warp hold them.

A step of `columns` kept columns is one fragment per 16 rows: what each lane needs lies side by side, so that a warp
loads a step's weights as one run. Lists are filled up to whole steps with weights of zero, at a column that counts
already: nothing is read there that the sum would not hold anyway.

An entry of a list may stand for a bundle of columns that are kept or removed together (`pack_bundles`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.geometry import round_up
from clprune.packing.arrays import FloatArray, IntArray, never_empty
from clprune.packing.columns import PackedColumns, pack_columns


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


def pack_bundles(
    matrix: npt.NDArray[np.float32], *, bundle: int, bias: FloatArray, tile_m: int, **lists: Any
) -> PackedColumns:
    """`pack_columns` of `matrix` `[rows, entries * bundle]`, `lists` of whose entries say where bundles of columns lie.

    The values of a row block are `[kept * bundle, tile_m]`; "kept" counts entries.
    """
    rows = len(matrix)
    # A row for each place in a bundle, next to the others: what is kept is decided for all of them.
    parts = matrix.reshape(rows, -1, bundle).transpose(0, 2, 1).reshape(rows * bundle, -1)
    packed = pack_columns(parts, bias=np.repeat(bias, bundle), tile_m=tile_m * bundle, **lists)
    whole = packed.values[: packed.values.size // (tile_m * bundle) * tile_m * bundle]  # nothing of a list without any
    values = never_empty(whole.reshape(-1, tile_m, bundle).transpose(0, 2, 1).reshape(-1))
    blocks = packed.blocks // np.array([1, 1, 1, bundle, bundle, 1], np.int32)
    bias_of_rows = np.ascontiguousarray(packed.bias[:, ::bundle])
    return replace(packed, tile_m=tile_m, values=values, blocks=blocks, bias=bias_of_rows)


def pack_fragments(
    packed: PackedColumns, order: FragmentOrder, *, bundle: int = 1, turn_steps: int = 1
) -> PackedColumns:
    """`packed` with each row block's values `[steps, tile_m / 16, lanes, elements]`, two of 16 bits to a word, seen as
    uint32. Of `blocks` "kept" counts the filled columns, `bundle` of each entry of a list, up to
    whole turns of steps; row blocks that shared a list still do.
    """
    lists: list[IntArray] = []
    starts: dict[tuple[int, int], int] = {}
    values: list[npt.NDArray[np.uint32]] = []
    blocks = packed.blocks.copy()
    list_start = value_start = 0
    for block, (start, kept, value, *_) in zip(blocks, packed.blocks.tolist(), strict=True):
        filled = round_up(kept * bundle, turn_steps * order.columns)
        if (start, kept) not in starts:
            starts[start, kept] = list_start
            entries = packed.offsets[start : start + kept]
            lists.append(np.pad(entries, (0, filled // bundle - kept), mode="edge" if kept else "empty"))
            list_start += filled // bundle
        count = kept * bundle * packed.tile_m
        words = _in_order(packed.values[value : value + count], packed.tile_m, filled, order)
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


def _in_order(values: npt.NDArray[Any], tile_m: int, filled: int, order: FragmentOrder) -> npt.NDArray[np.uint32]:
    """One row block's values `[kept, tile_m]` as words, filled up to whole steps."""
    matrix = np.zeros((filled, tile_m), values.dtype)
    matrix[: values.size // tile_m] = values.reshape(-1, tile_m)
    steps = matrix.reshape(-1, order.columns, tile_m // order.unit_rows, order.unit_rows)
    fragments = steps[:, order.columns_of, :, order.rows]  # [lanes, elements, steps, units of 16 rows]
    return np.ascontiguousarray(fragments.transpose(2, 3, 0, 1)).reshape(-1).view(np.uint32)
