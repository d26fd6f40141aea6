"""An inverse that is near that of a Gram matrix on whatever columns a row keeps, for all rows at once.

A few directions hold most of what activations vary in, and conjugate gradients spend their steps on them. With these,
by randomized subspace iteration (Halko, Martinsson & Tropp 2011, arXiv 0909.4061), a matrix A is near F F^T + D, where
D is what F leaves of its diagonal; and on the kept columns S of a row, by Woodbury's identity,

    (F F^T + D)_SS^-1 = D_S^-1 - D_S^-1 F_S (1 + F_S^T D_S^-1 F_S)^-1 F_S^T D_S^-1

takes one small matrix for each pattern of columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.pruning.unit import Mask

Float32 = NDArray[np.float32]

#: Directions, more that are drawn to find them, and how often the matrix is multiplied by these.
RANK, MORE, PASSES = 64, 8, 2

#: The least of D, relative to the matrix' own diagonal: float32 cannot say less of a difference.
LEAST = 1e-3


class LowRank:
    """Of `matrix` `[K, K]`, positive definite; row r keeps the columns `kept[pattern_of[r]]` of `[patterns, K]`."""

    def __init__(self, matrix: Float32, kept: Mask, pattern_of: NDArray[np.intp]) -> None:
        self.factors = _leading(matrix, min(RANK, len(matrix) // 2))
        diagonal = matrix.diagonal()
        self.rest = np.maximum(diagonal - (self.factors**2).sum(axis=1), LEAST * diagonal)
        rank = self.factors.shape[1]
        first, second = np.triu_indices(rank)
        products = (kept / self.rest).astype(np.float32) @ (self.factors[:, first] * self.factors[:, second])
        small = np.zeros((len(kept), rank, rank), np.float32)
        small[:, first, second] = small[:, second, first] = products
        self._small, self._mask = np.linalg.inv(small + np.eye(rank, dtype=np.float32)), kept
        self._pattern_of = pattern_of

    def __call__(self, residual: Float32) -> Float32:
        """The inverse times every row of `residual` `[M, K]`, which is zero where the row keeps nothing."""
        scaled = residual / self.rest
        inner = (self._small[self._pattern_of] @ (scaled @ self.factors)[:, :, None])[:, :, 0]
        found: Float32 = self._mask[self._pattern_of] * (scaled - inner @ self.factors.T / self.rest)
        return found


def _leading(matrix: Float32, rank: int) -> Float32:
    """F `[K, rank]` of the largest eigenvalues and their vectors."""
    drawn = np.random.default_rng(0).standard_normal((len(matrix), min(rank + MORE, len(matrix))))
    basis = drawn.astype(np.float32)
    for _ in range(PASSES):
        basis, _ = np.linalg.qr(matrix @ basis)
    values, vectors = np.linalg.eigh(basis.T @ (matrix @ basis))
    largest = slice(None, -rank - 1, -1)
    found: Float32 = basis @ (vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0)))
    return found
