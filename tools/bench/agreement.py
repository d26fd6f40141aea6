"""Do engines give the same answer? Logits are compared, which probabilities hide."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Largest relative error of the logits with which an engine counts as right: Winograd's transforms and long sums in
#: float32 stay far below, a wrong border or a transposed weight far above. Weights rounded to float16
#: have more, and so has arithmetic in TF32, whose mantissa has as many bits.
TOLERANCE = 1e-3
FLOAT16_TOLERANCE = 1e-2

#: Probabilities below this are too coarse to have a logarithm (float32's subnormals begin at 1e-38).
_SMALLEST = 1e-30


def relative_logit_error(got: npt.NDArray[Any], expected: npt.NDArray[Any], *, is_softmax: bool) -> float:
    """Largest |difference| of two answers' logits `[N, outputs]` over the largest |logit|; infinite for NaN or another
    shape.

    Of probabilities (`is_softmax`) the logits are known up to a constant per image, which the mean over those outputs
    that are not too small on either side takes away.
    """
    if got.shape != expected.shape or not np.all(np.isfinite(got)):
        return float("inf")
    left, right = got.astype(np.float64), expected.astype(np.float64)
    if is_softmax:
        usable = (left > _SMALLEST) & (right > _SMALLEST)
        left, right = _centred_logs(left, usable), _centred_logs(right, usable)
    scale = float(np.abs(right).max(initial=0)) or 1.0
    return float(np.abs(left - right).max(initial=0)) / scale


def _centred_logs(values: npt.NDArray[np.float64], usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    logs = np.log(np.where(usable, values, 1.0))
    counts = np.maximum(usable.sum(axis=1, keepdims=True), 1)
    return np.where(usable, logs - logs.sum(axis=1, keepdims=True) / counts, 0.0)
