"""Which layer is tuned next and for how long, so that a budget of seconds saves the most milliseconds and is kept.

A layer is worth its share of the network's time and what tuning may gain of it, which depends on where its present tile
comes from. The most worthy come first. Each gets a share of what is left that grows with the root of its worth; where
shares would be too short for a search to find anything, the least worthy layers are left as they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clprune.kernels.base import Offer

#: Shares of a layer's time that tuning may gain, by where its tile comes from; the first whose words it begins with.
_GAINS = (("shipped for", 0.2), ("shipped", 0.1), ("tuned for", 0.2), ("tuned", 0.05), ("offline", 0.25))
_GAIN_OF_DEFAULT = 0.35

#: Fewer tiles than this are no search: the tile that a layer has, those that won in similar layers, a few others.
FEWEST_TILES = 6

#: Seconds that are left over are spent as long as they are enough for so many.
_TILES_AT_LAST = 2

#: What the first layer is taken to cost before one was tuned: seconds of preparing and settling, and for a tile.
_FIRST_OVERHEAD_SECONDS, _FIRST_TILE_SECONDS = 1.0, 0.15

#: How much the costs of the last layer say of the next.
_LAST_SHARE = 0.6


def expected_gain(origin: str | None) -> float:
    """The share of a layer's time that tuning may gain where its tile is from `origin`, None for the default."""
    return next((gain for words, gain in _GAINS if (origin or "").startswith(words)), _GAIN_OF_DEFAULT)


def work_of(offer: Offer) -> float:
    """A guess of an offer's time that holds for layers bound by arithmetic, by weights and by activations alike.

    A byte of weights takes as long as about 10 operations, one of activations as long as 30, on CPUs and GPUs.
    """
    operation, problem = offer.operation, offer.operation.problem
    weight_bytes = 4 * problem.columns * getattr(problem, "outputs", 0)
    activation_bytes = 4 * operation.output.elements if hasattr(operation, "output") else 0
    return float(offer.workload.kept_share * (operation.flops + 10 * weight_bytes) + 30 * activation_bytes + 1.0)


@dataclass(kw_only=True)
class Schedule:
    """The seconds until `end_s` (of time.monotonic), and what layers turn out to cost.

    With `leaves_none` every layer gets some seconds, however few: at least its present tile is measured.
    """

    end_s: float
    leaves_none: bool
    overhead_s: float = _FIRST_OVERHEAD_SECONDS
    tile_s: float = _FIRST_TILE_SECONDS
    count: int = field(default=0, init=False)

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return self.end_s - time.monotonic()

    @property
    def least_s(self) -> float:
        """Seconds for the shortest search of one offer."""
        return self.overhead_s + FEWEST_TILES * self.tile_s

    def share(self, worths: Sequence[float]) -> float | None:
        """Seconds for the first of the layers that are left, worth so much, the most worthy first; None: no time."""
        if self.leaves_none:
            left_s = max(0.0, self.left_s - self.overhead_s * (len(worths) - 1))
            return left_s * _root(worths[0]) / sum(map(_root, worths))
        if self.count and self.left_s < self.overhead_s + _TILES_AT_LAST * self.tile_s:
            return None
        admitted = list(map(_root, worths))
        while len(admitted) > 1 and self.left_s * admitted[-1] < self.least_s * sum(admitted):
            admitted.pop()
        return max(0.0, self.left_s * admitted[0] / sum(admitted))

    def learn(self, *, seconds: float, tiles: int, searching_s: float) -> None:
        """One offer took so many seconds, of which `searching_s` went into so many tiles."""
        share = _LAST_SHARE if self.count else 1.0
        self.overhead_s += share * (max(0.0, seconds - searching_s) - self.overhead_s)
        if tiles:
            self.tile_s += share * (searching_s / tiles - self.tile_s)
        self.count += 1


@dataclass(kw_only=True)
class Gain:
    """What tuning has saved: milliseconds of one run of all layers tuned so far, before and after."""

    places: Mapping[tuple[str, str, str], int]
    before_ms: float = 0.0
    after_ms: float = 0.0

    def add(self, offer: Offer, *, before_ms: float, after_ms: float) -> None:
        """A layer's times with the tile that it had and with the one that was found."""
        count = self.places.get(place_of(offer), 1)
        self.before_ms += count * before_ms
        self.after_ms += count * after_ms

    @property
    def saved_ms(self) -> float:
        return self.before_ms - self.after_ms


def place_of(offer: Offer) -> tuple[str, str, str]:
    """What is the same for all steps that one tuning serves."""
    return offer.kernel.name, offer.operation.key, offer.workload.key


def _root(worth: float) -> float:
    return math.sqrt(worth)
