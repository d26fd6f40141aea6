"""Seeded data for cases: weights with whole units removed, buffers that betray reads and writes outside."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.kernels.arguments import FloatArray
from clprune.kernels.storage import CODEBOOK4, CODEBOOK8, FLOAT16, INT8
from clprune.kernels.workload import Workload
from clprune.layout import READ_MARGIN, Layout, view
from clprune.quantization.codebook import codebook_coding
from clprune.quantization.coding import LARGEST_CODE, Coding, HalfCoding
from clprune.quantization.linear import linear_coding

#: What an output buffer holds before the launch; it must still stand wherever the kernel may not write.
SENTINEL = np.float32(-777.25)


#: Scale of samples' activations, where a kernel quantizes them: so small that the largest of them saturate.
SAMPLE_ACTIVATION_SCALE = 2.5 / LARGEST_CODE


class DrawMatrix(Protocol):
    """`random_matrix` or `ragged_matrix`."""

    def __call__(self, rng: np.random.Generator, *, rows: int, columns: int, workload: Workload) -> FloatArray: ...


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


def ragged_matrix(rng: np.random.Generator, *, rows: int, columns: int, workload: Workload) -> FloatArray:
    """Like `random_matrix`, but the smallest weights of the whole layer are removed, one by one where units are single:
    rows of smaller weights lose more of them, as pruning by magnitude has it.
    """
    if workload.unit_rows > 1 or workload.kept_share >= 1:
        return random_matrix(rng, rows=rows, columns=columns, workload=workload)
    matrix = random_matrix(rng, rows=rows, columns=columns, workload=Workload())
    matrix *= rng.uniform(0.5, 1.5, (rows, 1)).astype(np.float32)
    removed = matrix.size - round(matrix.size * workload.kept_share)
    matrix.reshape(-1)[np.argsort(np.abs(matrix), axis=None)[:removed]] = 0
    return matrix


def coded_weights(matrix: FloatArray, *, bias: FloatArray, storage: str) -> LayerWeights:
    """A layer of weights `[rows, columns]` and bias `[rows]`, rounded to what `storage` holds, with its coding."""
    coding: Coding | None = None
    if storage == INT8:
        coding = linear_coding(matrix, name="sample", activation_scale=SAMPLE_ACTIVATION_SCALE)
    elif storage in (CODEBOOK8, CODEBOOK4):
        coding = codebook_coding(matrix, name="sample", bits=4 if storage == CODEBOOK4 else 8)
    elif storage == FLOAT16:
        coding = HalfCoding(values=matrix.astype(np.float16))
    return LayerWeights(weights=matrix if coding is None else coding.decode(), biases=bias, coding=coding)


def input_buffer(values: npt.NDArray[np.float32], layout: Layout) -> FloatArray:
    """`values` `[N, C, H, W]` in `layout`, zeros in the padding and NaN in the margin that is read but never used."""
    buffer = np.zeros(layout.elements, np.float32)
    view(buffer, layout)[:] = values
    buffer[layout.elements - READ_MARGIN :] = np.nan
    return buffer
