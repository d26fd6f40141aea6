"""Rows fitted from the Gram matrix: against NumPy's least squares on the inputs themselves, exact and by gradients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from clprune.pruning import least_squares
from clprune.pruning.least_squares import solve_rows


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
