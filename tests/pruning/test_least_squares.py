"""Rows fitted from the Gram matrix: against NumPy's least squares on the inputs themselves, exact and by gradients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from clprune.pruning import least_squares
from clprune.pruning.least_squares import FEW_STEPS, Float64, solve_rows
from clprune.pruning.preconditioner import LowRank


@pytest.mark.parametrize("is_exact", [True, False])
def test_it_is_least_squares_on_the_inputs(monkeypatch: pytest.MonkeyPatch, is_exact: bool) -> None:
    if not is_exact:
        monkeypatch.setattr(least_squares, "_is_exact", lambda kept, rows, steps: False)
        monkeypatch.setattr(least_squares, "TOLERANCE", 1e-7)
    random = np.random.default_rng(0)
    x, dense = random.standard_normal((13, 200)), random.standard_normal((7, 13))
    x[3] = x[2] + 0.1 * x[3]  # inputs that can stand for each other
    mask = random.random((7, 13)) < 0.6
    mask[4] = mask[5]
    mask[6] = False
    start = np.where(mask, dense, 0)
    change = solve_rows(x @ x.T, (dense - start) @ x @ x.T, mask, damping=1e-9)
    assert not change[~mask].any()
    for row, kept in enumerate(mask):
        expected, *_ = np.linalg.lstsq(x[kept].T, x.T @ dense[row], rcond=None)
        assert_allclose((start + change)[row, kept], expected, atol=1e-5)


def test_few_inputs_leave_weights_near_where_they_were() -> None:
    x = np.random.default_rng(1).standard_normal((30, 2))
    change = solve_rows(x @ x.T, np.zeros((4, 30)), np.ones((4, 30), np.bool_))
    assert_allclose(change, 0)
    assert_allclose(solve_rows(np.zeros((3, 3)), np.ones((2, 3)), np.ones((2, 3), np.bool_)), 0)


@pytest.mark.parametrize("share", [0.5, 0.25])
@pytest.mark.parametrize("unit_rows", [1, 4])
def test_few_steps_rank_masks_as_many_would(monkeypatch: pytest.MonkeyPatch, share: float, unit_rows: int) -> None:
    """Within a tenth of the least error, whatever stays, for inputs that a few causes drive, as in deep layers."""
    random = np.random.default_rng(2)
    causes = 0.95 ** np.arange(150)[:, None] * random.standard_normal((150, 400))
    x = np.maximum(random.standard_normal((600, 150)) @ causes + 2, 0)
    x -= x.mean(axis=1, keepdims=True)
    gram, dense = x @ x.T, random.standard_normal((16, 600))
    mask = np.repeat(random.random((16 // unit_rows, 600)) < share, unit_rows, axis=0)
    start = np.where(mask, dense, 0)
    right = (dense - start) @ gram

    def error(change: Float64) -> float:
        lost = start + change - dense
        return float(((lost @ gram) * lost).sum())

    exact = solve_rows(gram, right, mask)
    monkeypatch.setattr(least_squares, "_is_exact", lambda kept, rows, steps: False)
    few = solve_rows(gram, right, mask, steps=FEW_STEPS)
    assert not few[~mask].any()
    assert error(few) <= 1.1 * error(exact)


def test_the_inverse_that_is_near_is_that_of_its_factors() -> None:
    random = np.random.default_rng(3)
    x = random.standard_normal((31, 5)) @ random.standard_normal((5, 90)) + 0.1 * random.standard_normal((31, 90))
    kept = random.random((3, 31)) < 0.6
    pattern_of = np.array([2, 0, 0, 1])
    near = LowRank((x @ x.T).astype(np.float32), kept, pattern_of)
    matrix = near.factors @ near.factors.T + np.diag(near.rest)
    assert_allclose(matrix, x @ x.T, atol=0.05 * np.trace(x @ x.T) / 31)
    residual = np.where(kept[pattern_of], random.standard_normal((4, 31)), 0).astype(np.float32)
    found = near(residual)
    for row, columns in enumerate(kept[pattern_of]):
        expected = np.linalg.solve(matrix[np.ix_(columns, columns)], residual[row, columns])
        assert_allclose(found[row, columns], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
        assert not found[row, ~columns].any()
