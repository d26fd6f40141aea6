"""How evenly packed work is spread over what runs at the same time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def longest_over_mean(counts: npt.NDArray[np.integer[Any]]) -> float:
    """The largest of `counts` over their mean: by how much longer the longest part takes than with the work spread
    evenly. 1 is balanced, and nothing at all is.
    """
    return float(counts.max() / counts.mean()) if counts.size and counts.any() else 1.0
