"""Compressed rows: the weights that are not zero, row after row (CSR), for matrices pruned weight by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.errors import UsageError
from clprune.packing.arrays import IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class CompressedRows:
    """A matrix `[rows, columns_count]` by its entries that are not zero.

    starts: int32 `[rows + 1]`, row r holds entries `starts[r]` to `starts[r + 1]`.
    columns: int32 `[entries]`, ascending in each row.
    values: `[entries]`, in float32, none of them zero, or in another storage, in which `zero` stands for 0.0.
    """

    rows: int
    columns_count: int
    starts: IntArray
    columns: IntArray
    values: npt.NDArray[Any]
    zero: int = 0

    @classmethod
    def from_dense(cls, matrix: npt.NDArray[np.floating]) -> CompressedRows:
        """Compress `matrix` `[rows, columns]`.

        Raises UsageError for NaN and infinity, and for more entries than 32 bits can count.
        """
        rows, columns_count = matrix.shape
        places = np.flatnonzero(matrix != 0)
        values = matrix.reshape(-1)[places]
        if not np.isfinite(values).all():
            check_finite(matrix)
        if len(places) > np.iinfo(np.int32).max:
            raise UsageError(f"a layer of {len(places)} weights that are not zero: at most 2147483647 are possible")
        row_places = np.arange(rows + 1) * columns_count
        starts = np.searchsorted(places, row_places).astype(np.int32)
        places -= np.repeat(row_places[:-1], np.diff(starts))
        return cls(
            rows=rows,
            columns_count=columns_count,
            starts=starts,
            columns=places.astype(np.int32),
            values=values.astype(np.float32, copy=False),
        )

    @property
    def lengths(self) -> IntArray:
        """Entries of each row, int32 `[rows]`."""
        return np.diff(self.starts)

    @property
    def row_numbers(self) -> npt.NDArray[np.intp]:
        """The row of each entry."""
        return np.repeat(np.arange(self.rows), self.lengths)

    @property
    def kept_share(self) -> float:
        """Entries over weights of the dense matrix."""
        return len(self.values) / (self.rows * self.columns_count)


def check_finite(matrix: npt.NDArray[np.floating]) -> None:
    """Raise UsageError where `matrix` `[rows, columns]` holds NaN or infinity: zero times those is no zero."""
    if np.isfinite(np.sum(matrix, dtype=np.float64)):  # finite float32 values cannot overflow it: no mask is needed
        return
    row, column = np.argwhere(~np.isfinite(matrix))[0]
    raise UsageError(
        f"weights hold {np.count_nonzero(~np.isfinite(matrix))} values that are not finite, the first ("
        f"{matrix[row, column]}) for output channel {row}, column {column}: train again, or start from other weights"
    )
