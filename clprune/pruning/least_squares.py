"""Least squares for weights that have lost some of their number, in closed form from the Gram matrix of their inputs.

With inputs x `[K]` and the outputs y `[M]` that are to be met, the change D of weights W that is smallest in

    sum over samples of |(W + D) x - y|^2 + damping * mean(diag G) * |D|^2,    G = sum of x x^T

among those that are zero where the mask is, solves for each row r with the kept columns S

    (G_SS + damping * mean(diag G) * 1) D_rS = (sum of y_r x^T - W_r G)_S

(ridge regression towards the weights that stay; for pruned layers Hassibi & Stork 1993, He et al. 2017, arXiv
1707.06168, across the next layer; Frantar & Alistarh 2023, arXiv 2301.00774, from whom the damping is).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clprune.pruning.preconditioner import LowRank
from clprune.pruning.unit import Mask

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Of the mean diagonal entry of G: few inputs say little about many weights.
DAMPING = 0.01

#: Multiplications for which systems of equations are solved one by one in any case; beyond, where that takes fewer than
#: conjugate gradients for all rows, which are in float32 and no factorization: as if half as many.
MOST_EXACT = 2e9

#: Conjugate gradients end when every row's residual has become this much smaller, or after so many steps. The few rank
#: masks: they leave at most 1.1 times the error of the many (tests hold it), so that masks that keep little, whose
#: systems are solved exactly, are not preferred for that.
TOLERANCE, STEPS, FEW_STEPS = 1e-3, 40, 10


def solve_rows(gram: Float64, right: Float64, mask: Mask, *, damping: float = DAMPING, steps: int = STEPS) -> Float64:
    """The D `[M, K]` of the formula, zero where `mask` `[M, K]` is False; `gram` is G `[K, K]`, `right` `[M, K]`.

    Rows that keep the same columns, as those of one row block do, share one system of equations.
    """
    ridged = gram.copy()
    ridged.flat[:: len(gram) + 1] += damping * float(np.mean(gram.diagonal()))
    patterns, rows = np.unique(np.packbits(mask, axis=1), axis=0, return_inverse=True)
    kept = np.unpackbits(patterns, axis=1, count=mask.shape[1]).astype(np.bool_)
    if not np.trace(gram) > 0:
        return np.zeros_like(right)
    if not _is_exact(kept, rows=len(mask), steps=steps):
        single = ridged.astype(np.float32), np.where(mask, right, 0).astype(np.float32)
        near = LowRank(single[0], kept, rows.reshape(-1))
        return _conjugate_gradients(*single, mask, near, steps=steps).astype(np.float64)
    solved = np.zeros_like(right)
    for number, pattern in enumerate(kept):
        chosen, columns = np.flatnonzero(rows.reshape(-1) == number), np.flatnonzero(pattern)
        if len(columns):
            there = np.ix_(chosen, columns)
            solved[there] = np.linalg.solve(ridged[np.ix_(columns, columns)], right[there].T).T
    return solved


def _is_exact(kept: Mask, *, rows: int, steps: int) -> bool:
    """Whether the systems of the patterns `kept` `[patterns, K]` are solved one by one, for so many rows in all."""
    multiplications = float((kept.sum(axis=1, dtype=np.float64) ** 3).sum())
    return bool(multiplications <= max(MOST_EXACT, steps / 2 * rows * kept.shape[1] ** 2))


def _conjugate_gradients(ridged: Float32, right: Float32, mask: Mask, near: LowRank, *, steps: int) -> Float32:
    """The same for every row at once, to `TOLERANCE`: single weights make a pattern of every row."""
    solved, residual = np.zeros_like(right), right
    direction = conditioned = near(residual)
    product = (residual * conditioned).sum(axis=1)
    enough = TOLERANCE**2 * product
    for _ in range(steps):
        if (product <= enough).all():
            break
        image = np.where(mask, direction @ ridged, 0)
        step = product / np.maximum((direction * image).sum(axis=1), 1e-30)
        solved = solved + step[:, None] * direction
        residual = residual - step[:, None] * image
        conditioned = near(residual)
        after = (residual * conditioned).sum(axis=1)
        direction = conditioned + (after / np.maximum(product, 1e-30))[:, None] * direction
        product = after
    return solved
