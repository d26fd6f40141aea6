"""Activations against values worked out by hand from darknet's activations.h."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clprune.darknet.activations import ACTIVATIONS, activate
from clprune.errors import UsageError

E = math.e

CASES: dict[str, dict[float, float]] = {
    "logistic": {0: 0.5, 1: 1 / (1 + 1 / E), -1: 1 / (1 + E)},
    "relu": {-2: 0, 0: 0, 3: 3},
    "leaky": {-2: -0.2, 0: 0, 3: 3},
    "elu": {-1: 1 / E - 1, 0: 0, 3: 3},
    "selu": {-1: 1.0507 * 1.6732 * (1 / E - 1), 0: 0, 2: 2.1014},
    "linear": {-7.5: -7.5, 0: 0, 7.5: 7.5},
    "tanh": {-1: (1 - E**2) / (1 + E**2), 0: 0, 1: (E**2 - 1) / (E**2 + 1)},
    "ramp": {-2: -0.2, 0: 0, 2: 2.2},
    "hardtan": {-3: -1, -0.5: -0.5, 0.5: 0.5, 3: 1},
    "loggy": {0: 0, 1: 2 / (1 + 1 / E) - 1},
    "relie": {-2: -0.02, 0: 0, 3: 3},
    "plse": {-5: -0.01, -4: 0, 0: 0.5, 4: 1, 5: 1.01},
    "stair": {0: 0, 0.7: 0, 1: 0, 1.25: 0.25, 2: 1, 2.9: 1, 3.5: 1.5, -0.5: -0.5, -1: -1, -1.5: -1, -2.5: -1.5},
    "lhtan": {-2: -0.002, 0: 0, 0.5: 0.5, 1: 1, 3: 1.002},
    "swish": {0: 0, 1: 1 / (1 + 1 / E), -1: -1 / (1 + E)},
    "mish": {0: 0, 1: math.tanh(math.log(1 + E)), -1: -math.tanh(math.log(1 + 1 / E))},
    "relu6": {-1: 0, 3: 3, 6: 6, 7: 6},
    "hard_mish": {-3: 0, -2: 0, -1: -0.5, 0: 0, 2: 2},
    "hard_sigmoid": {-4: 0, -3: 0, 0: 0.5, 1.5: 0.75, 3: 1, 4: 1},
    "hard_swish": {-4: 0, -3: 0, -1.5: -0.375, 0: 0, 1.5: 1.125, 4: 4},
    "gelu_erf": {0: 0, 1: (1 + math.erf(0.5**0.5)) / 2, -1: (math.erf(0.5**0.5) - 1) / 2},
}


def test_every_activation_has_cases() -> None:
    assert set(CASES) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_by_hand(name: str) -> None:
    x = np.array(list(CASES[name]), dtype=np.float32)
    result = activate(name, x)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, list(CASES[name].values()), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_large_values_neither_overflow_nor_warn(name: str) -> None:
    with np.errstate(all="raise", under="ignore"):
        result = activate(name, np.array([[-1e30, -1000.0], [1000.0, 1e30]]))
    assert result.shape == (2, 2)
    assert np.isfinite(result).all()


def test_the_input_is_left_alone() -> None:
    x = np.array([-1.0, 1.0])
    result = activate("linear", x)
    result[0] = 5
    assert x.tolist() == [-1.0, 1.0]


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"'rellu'.*expected one of"):
        activate("rellu", [1.0])
