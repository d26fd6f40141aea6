"""Logits are compared up to what a softmax hides."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench.agreement import relative_logit_error

LOGITS = np.array([[1.0, -3.0, 2.0], [0.5, 4.0, 0.0]])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def test_equal_logits() -> None:
    assert relative_logit_error(LOGITS, LOGITS, is_softmax=False) == 0
    assert relative_logit_error(softmax(LOGITS), softmax(LOGITS + 5), is_softmax=True) < 1e-12


def test_error_relative_to_the_largest_logit() -> None:
    other = LOGITS.copy()
    other[0, 1] += 0.4
    assert relative_logit_error(other, LOGITS, is_softmax=False) == pytest.approx(0.1)


def test_error_hidden_in_small_probabilities() -> None:
    """Centred, the logits of the first image are (2, -2, 0) and the changed ones (2.1, -2.3, 0.2)."""
    got, expected = np.array([[2.3, -2.1, 0.4]]), np.array([[2.0, -2.0, 0.0]])
    assert relative_logit_error(softmax(got), softmax(expected), is_softmax=True) == pytest.approx(0.3 / 2)


def test_probabilities_that_vanish_are_left_out() -> None:
    got, expected = np.array([[0.9, 0.1, 0.0]]), np.array([[0.9, 0.1, 1e-35]])
    assert relative_logit_error(got, expected, is_softmax=True) == pytest.approx(0)


@pytest.mark.parametrize("got", [np.full((2, 3), np.nan), np.zeros((2, 4)), np.zeros((3, 2))])
def test_no_answer(got: np.ndarray) -> None:
    assert relative_logit_error(got, LOGITS, is_softmax=False) == float("inf")
