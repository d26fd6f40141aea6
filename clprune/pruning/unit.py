"""Where a layer's units lie in its weight matrix, and a mask from the units that stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.errors import UsageError
from clprune.pruning.criterion import Matrix, block_scores
from clprune.unit import Unit

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class UnitGrid:
    """A matrix `[rows, columns]` cut into units; `row_starts` and `column_starts` are the units' upper left corners.

    Row blocks begin anew in each group of a grouped convolution, because a kernel's tile holds rows of one group.
    """

    rows: int
    columns: int
    row_starts: NDArray[np.int64]
    column_starts: NDArray[np.int64]

    @classmethod
    def cut(cls, *, rows: int, columns: int, unit: Unit, group_rows: int | None = None) -> UnitGrid:
        """Cut `[rows, columns]` into units of `unit`; the last block of a group or a row may be smaller.

        `group_rows` are the output channels of one group (None: all rows are one group). Raises UsageError.
        """
        per_group = rows if group_rows is None else group_rows
        if rows < 1 or columns < 1:
            raise UsageError(f"a weight matrix of {rows}x{columns}: both sides must be at least 1")
        if per_group < 1 or rows % per_group:
            raise UsageError(f"{rows} rows cannot be cut into groups of {per_group}")
        within = np.arange(0, per_group, unit.rows, dtype=np.int64)
        groups = np.arange(0, rows, per_group, dtype=np.int64)
        return cls(
            rows=rows,
            columns=columns,
            row_starts=(groups[:, None] + within).reshape(-1),
            column_starts=np.arange(0, columns, unit.columns, dtype=np.int64),
        )

    @property
    def units(self) -> int:
        """Number of units, partial ones included."""
        return len(self.row_starts) * len(self.column_starts)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Weights of each unit: int64 `[row blocks, column blocks]`."""
        sizes: NDArray[np.int64] = np.outer(
            np.diff(self.row_starts, append=self.rows), np.diff(self.column_starts, append=self.columns)
        )
        return sizes

    def scores(self, weights: Matrix, *, criterion: str) -> NDArray[np.float64]:
        """Importance of each unit of `weights` `[rows, columns]`: float64 `[row blocks, column blocks]`."""
        return block_scores(weights, row_starts=self.row_starts, column_starts=self.column_starts, criterion=criterion)

    def scores_of(self, weights: Matrix, row_blocks: slice, *, criterion: str) -> NDArray[np.float64]:
        """The same for some of the row blocks only, to work through a large matrix piece by piece."""
        starts = self.row_starts[row_blocks]
        end = self.row_starts[row_blocks.stop] if row_blocks.stop < len(self.row_starts) else self.rows
        return block_scores(
            weights[starts[0] : end],
            row_starts=starts - starts[0],
            column_starts=self.column_starts,
            criterion=criterion,
        )

    def expand(self, kept: NDArray[np.bool_]) -> Mask:
        """The mask `[rows, columns]` of the units `kept` `[row blocks, column blocks]`; True stays."""
        heights = np.diff(self.row_starts, append=self.rows)
        if len(self.column_starts) < self.columns:
            kept = np.repeat(kept, np.diff(self.column_starts, append=self.columns), axis=1)
        mask: Mask = np.repeat(kept, heights, axis=0)
        return mask


def check_sparsity(sparsity: float) -> None:
    """Raise UsageError for a share of removed weights outside [0, 1)."""
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity {sparsity}: expected a share of removed weights from 0 up to, but not, 1")


def kept_count(units: int, *, sparsity: float) -> int:
    """Units that stay of `units`: a share of `sparsity`, rounded to the nearest whole unit, goes; one always stays."""
    check_sparsity(sparsity)
    return max(units - round(sparsity * units), 1)


def keep_best(scores: NDArray[np.float64], *, count: int) -> NDArray[np.bool_]:
    """Mark the `count` largest scores of an array of any shape; of equal ones those with the lower index stay."""
    flat = scores.reshape(-1)
    if count >= flat.size:
        return np.ones(scores.shape, np.bool_)
    threshold = np.partition(flat, flat.size - count)[flat.size - count]
    kept: NDArray[np.bool_] = flat > threshold
    equal = np.flatnonzero(flat == threshold)
    kept[equal[: count - np.count_nonzero(kept)]] = True
    return kept.reshape(scores.shape)
