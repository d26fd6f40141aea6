"""The activations that a darknet cfg can name, as float64 references.

Source: darknet's activations.h; swish, mish, relu6 and hard_mish are later additions of its forks. hard_sigmoid and
hard_swish (Howard et al. 2019, "Searching for MobileNetV3") and gelu_erf, the exact x * Phi(x) (Hendrycks and Gimpel
2016, "Gaussian error linear units"), are clprune's own: networks of other frameworks have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clprune.errors import UsageError

Array = NDArray[np.float64]

SELU_SCALE = 1.0507
#: Darknet's constants, shorter than the paper's.
SELU_ALPHA = 1.6732


def _logistic(x: Array) -> Array:
    # exp of a large positive number would overflow; each half uses the form that cannot.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def _stair(x: Array) -> Array:
    floor = np.floor(x)
    half = np.floor(x / 2.0)
    return np.where(np.mod(floor, 2.0) == 0, half, (x - floor) + half)


def _plse(x: Array) -> Array:
    middle = np.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)
    return np.where(x < -4, 0.01 * (x + 4), middle)


def _lhtan(x: Array) -> Array:
    return np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x))


def _elu(x: Array) -> Array:
    return np.where(x >= 0, x, np.expm1(np.minimum(x, 0)))


def _selu(x: Array) -> Array:
    return np.where(x >= 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _mish(x: Array) -> Array:
    return x * np.tanh(np.logaddexp(0.0, x))


def _hard_mish(x: Array) -> Array:
    return np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0.0))


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


#: The error function, which NumPy lacks.
_erf = np.vectorize(math.erf, otypes=[np.float64])


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "logistic": _logistic,
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "elu": _elu,
    "selu": _selu,
    "linear": lambda x: x,
    "tanh": np.tanh,
    "ramp": lambda x: np.maximum(x, 0) + 0.1 * x,
    "hardtan": lambda x: np.clip(x, -1, 1),
    "loggy": lambda x: 2 * _logistic(x) - 1,
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "plse": _plse,
    "stair": _stair,
    "lhtan": _lhtan,
    "swish": lambda x: x * _logistic(x),
    "mish": _mish,
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_mish": _hard_mish,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "gelu_erf": lambda x: x * (0.5 + 0.5 * _erf(x / math.sqrt(2))),
}

#: Names that `activation=` accepts.
ACTIVATIONS: tuple[str, ...] = tuple(_FUNCTIONS)


def activate(name: str, x: ArrayLike) -> Array:
    """Apply the activation `name` to every value of `x` in float64; the shape stays. Raises UsageError."""
    function = _FUNCTIONS.get(name)
    if function is None:
        raise UsageError(f"activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return np.array(function(np.asarray(x, dtype=np.float64)), dtype=np.float64)
