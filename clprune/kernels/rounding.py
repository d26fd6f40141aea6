"""Values as factors of products that are less precise than float32: what kernels round, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.precision import FLOAT16, TF32

_TF32_DROPPED_BITS = 13


def rounded(values: npt.NDArray[Any], precision: str) -> npt.NDArray[np.float32]:
    """`values` as factors of that precision: TF32 rounds halves away from zero, float16 to even, beyond 65504 to
    infinity.
    """
    singles = np.ascontiguousarray(values, np.float32)
    if precision == FLOAT16:
        with np.errstate(over="ignore"):
            return singles.astype(np.float16).astype(np.float32)
    if precision == TF32:
        bits = singles.view(np.uint32)
        half, kept = np.uint32(1 << _TF32_DROPPED_BITS - 1), np.uint32(-1 << _TF32_DROPPED_BITS & 0xFFFFFFFF)
        return np.where(np.isfinite(singles), ((bits + half) & kept).view(np.float32), singles)
    return singles
