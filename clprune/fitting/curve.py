"""What pruning a layer loses at shares that were not judged, and where channels are gone besides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from clprune.fitting.entry import Entry

#: Below this losses are alike.
_LEAST = 1e-9

#: How steeply the loss rises towards few weights where one point alone is known: as the square of their number's share.
_SLOPE = -2.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """`losses` of a layer at the shares `kept` of its weights, rising and below 1, of one way to prune it."""

    kept: tuple[float, ...]
    losses: tuple[float, ...]

    def loss(self, kept: float) -> float:
        """At any share above 0: between points, and below them, straight in logarithms; above them as the square of
        what goes, as for small changes of anything smooth about its minimum.
        """
        if kept >= self.kept[-1]:
            return self.losses[-1] * (max(1 - kept, 0.0) / (1 - self.kept[-1])) ** 2
        shares, losses = np.log(self.kept), np.log(np.maximum(self.losses, _LEAST))
        slope = _SLOPE if len(shares) == 1 else (losses[1] - losses[0]) / (shares[1] - shares[0])
        below = min(float(np.log(kept) - shares[0]), 0.0) * min(slope, 0.0)
        return float(np.exp(np.interp(np.log(kept), shares, losses) + below))

    def rise(self, kept: float, *, columns: float) -> float:
        """How much more is lost than by pruning and by the channels apart, where only this share of `columns` is left.

        The weights of the channels that are gone cannot be among the `kept` share any more: pruning goes on from where
        the channels have left the layer, on the steeper part of its curve.
        """
        return max(self.loss(kept * columns) - self.loss(columns) - self.loss(kept), 0.0)


def curves_of(entries: Iterable[Entry]) -> dict[object, Curve]:
    """By way (`Entry.way`) the curve of a layer's pruned `entries`: of weights in several bits, what loses least."""
    points: dict[object, dict[float, float]] = {}
    for entry in entries:
        if entry.options is not None and 0 < entry.options.sparsity < 1:
            of_way, kept = points.setdefault(entry.way, {}), 1 - entry.options.sparsity
            of_way[kept] = min(of_way.get(kept, entry.loss), entry.loss)
    return {
        way: Curve(kept=tuple(sorted(found)), losses=tuple(found[kept] for kept in sorted(found)))
        for way, found in points.items()
    }
