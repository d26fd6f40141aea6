"""Seeded data for cases: weights with whole units removed, buffers that betray reads and writes outside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clprune.kernels.base import Expected, FloatArray, Workload
from clprune.layout import READ_MARGIN, Layout, view

#: What an output buffer holds before the launch; it must still stand wherever the kernel may not write.
SENTINEL = np.float32(-777.25)


def random_matrix(rng: np.random.Generator, *, rows: int, columns: int, workload: Workload) -> FloatArray:
    """He-scaled weights `[rows, columns]`; units of `workload.unit_rows` x 1 removed, as many in every row block."""
    matrix: FloatArray = rng.standard_normal((rows, columns), np.float32)
    matrix *= np.float32(np.sqrt(2.0 / columns))
    if workload.kept_share >= 1:
        return matrix
    kept = round(columns * workload.kept_share)
    for first in range(0, rows, workload.unit_rows):
        removed = rng.permutation(columns)[kept:]
        matrix[first : first + workload.unit_rows, removed] = 0
    return matrix


def input_buffer(values: npt.NDArray[np.float32], layout: Layout) -> FloatArray:
    """`values` `[N, C, H, W]` in `layout`, zeros in the padding and NaN in the margin that is read but never used."""
    buffer = np.zeros(layout.elements, np.float32)
    view(buffer, layout)[:] = values
    buffer[layout.elements - READ_MARGIN :] = np.nan
    return buffer


def expected_output(values: npt.NDArray[np.float64], layout: Layout, *, terms: int) -> Expected:
    """`values` `[N, C, H, W]` in `layout`; everything around must keep the sentinel."""
    buffer = np.full(layout.elements, float(SENTINEL))
    written = np.zeros(layout.elements, np.bool_)
    view(buffer, layout)[:] = values
    view(written, layout)[:] = True
    return Expected(values=buffer, written=written, initial=np.full(layout.elements, SENTINEL), terms=terms)
