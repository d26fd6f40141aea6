"""Masks drawn by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bits(*rows: str) -> NDArray[np.bool_]:
    """A mask from one text per row, `#` where a weight stays."""
    return np.array([[character == "#" for character in row] for row in rows])


def matrix(*rows: str) -> NDArray[np.float32]:
    """A weight matrix from one text of numbers per row."""
    return np.array([[float(word) for word in row.split()] for row in rows], np.float32)
