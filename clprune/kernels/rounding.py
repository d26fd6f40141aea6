"""Values as factors of products that are less precise than float32: what kernels round, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.precision import BFLOAT16, FLOAT16, TF32

_TF32_DROPPED_BITS, _BFLOAT16_DROPPED_BITS = 13, 16


def rounded(values: npt.NDArray[Any], precision: str) -> npt.NDArray[np.float32]:
    """`values` as factors of that precision: TF32 rounds halves away from zero, the others to even; what exceeds the
    largest value (of float16 65504) becomes infinite.
    """
    singles = np.ascontiguousarray(values, np.float32)
    if precision == FLOAT16:
        with np.errstate(over="ignore"):
            return singles.astype(np.float16).astype(np.float32)
    bits = singles.view(np.uint32)
    if precision == TF32:
        return _without(bits + np.uint32(1 << _TF32_DROPPED_BITS - 1), _TF32_DROPPED_BITS, singles)
    if precision == BFLOAT16:
        last = bits >> np.uint32(_BFLOAT16_DROPPED_BITS) & np.uint32(1)
        half = np.uint32((1 << _BFLOAT16_DROPPED_BITS - 1) - 1)
        return _without(bits + half + last, _BFLOAT16_DROPPED_BITS, singles)
    return singles


def _without(bits: npt.NDArray[Any], dropped: int, singles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 of `bits` with the last ones zero; `singles` where those are not finite."""
    kept = np.uint32(-1 << dropped & 0xFFFFFFFF)
    return np.where(np.isfinite(singles), (bits & kept).view(np.float32), singles)


def encoded(values: npt.NDArray[np.float32], precision: str) -> npt.NDArray[Any]:
    """Rounded values as kernels read them: of 16 bits where the precision has as many, else float32. NumPy knows no
    bfloat16: its bits are uint16.
    """
    if precision == FLOAT16:
        return values.astype(np.float16)
    if precision == BFLOAT16:
        upper_halves: npt.NDArray[np.uint16] = (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return upper_halves
    return values
