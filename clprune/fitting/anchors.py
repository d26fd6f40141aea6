"""What the network's answer loses, from how far one layer strays: by a few ways that were judged by both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Points that a layer's curve needs.
FEWEST = 2


def loss_at(anchors: Sequence[tuple[float, float]], error: float) -> float | None:
    """The loss at this relative squared `error` of a layer's outputs, None where `anchors` (error, loss) are too few.

    Straight between neighbours in logarithms; beyond them in proportion to the error, as for small changes of anything
    smooth about its minimum.
    """
    points = dict(sorted(point for point in anchors if min(point) > 0))
    if len(points) < FEWEST:
        return None
    if error <= 0:
        return 0.0
    errors, losses = np.array(list(points)), np.array(list(points.values()))
    nearest = min(max(error, errors[0]), errors[-1])
    found = np.exp(np.interp(np.log(nearest), np.log(errors), np.log(losses)))
    return float(found * error / nearest)
