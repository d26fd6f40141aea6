"""The only import of scikit-learn: its handwritten digits and its two sample photographs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clprune.errors import MissingDependencyError

DIGIT_NAMES = tuple(str(digit) for digit in range(10))


@lru_cache(maxsize=1)
def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """1,797 handwritten digits `[1797, 8, 8]` in 0..16 and their labels. Raises MissingDependencyError."""
    bunch = _datasets().load_digits()
    return np.asarray(bunch.images, np.float64), np.asarray(bunch.target, np.int64)


@lru_cache(maxsize=1)
def load_photos() -> list[NDArray[np.uint8]]:
    """Two photographs, uint8 `[height, width, 3]`. Raises MissingDependencyError."""
    return [np.asarray(photo, np.uint8) for photo in _datasets().load_sample_images().images]


def _datasets() -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"the digits and the photographs come with scikit-learn, which cannot be imported ({error}); "
            "install it with: pip install clprune[data]"
        ) from error
    return datasets
