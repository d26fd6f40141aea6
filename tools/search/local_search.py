"""Which candidate to try next: from the device type's own tiles downhill to the best neighbour, then from elsewhere.

A neighbour differs in one parameter. This finds good tiles after few evaluations because parameters act nearly
independently; restarts from random points keep it from ending in a poor valley.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def neighbours(tile: Any, parameters: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    """Tiles that differ from `tile` in exactly one parameter, valid or not."""
    for name, values in parameters.items():
        for value in values:
            if value != getattr(tile, name):
                yield dataclasses.replace(tile, **{name: value})


class LocalSearch:
    """Proposes tiles one by one; `ask()` returns None when the space is exhausted.

    `candidates` is the valid part of the space, `starts` are tried first.
    """

    def __init__(
        self, candidates: Sequence[Any], *, parameters: Mapping[str, Sequence[Any]], starts: Sequence[Any], seed: int
    ) -> None:
        self._valid = set(candidates)
        self._parameters = parameters
        self._known: set[Any] = set()
        self._generator = np.random.default_rng(seed)
        self._queue = [tile for tile in starts if tile in self._valid]
        self._centre: Any = None
        self._shuffled = [candidates[index] for index in self._generator.permutation(len(candidates))]
        self.best: tuple[Any, float] | None = None  # the fastest tile known, and its milliseconds

    def ask(self) -> Any | None:
        """The next tile to measure."""
        while True:
            while self._queue:
                if (tile := self._queue.pop(0)) not in self._known:
                    return tile
            if self.best is None or self.best[0] == self._centre:
                return next((tile for tile in self._shuffled if tile not in self._known), None)
            self._centre = self.best[0]
            around = [tile for tile in neighbours(self._centre, self._parameters) if tile in self._valid]
            self._queue = [around[index] for index in self._generator.permutation(len(around))]

    def tell(self, tile: Any, time_ms: float | None) -> None:
        """Report the outcome of a tile; a new best puts its neighbours next."""
        self._known.add(tile)
        if time_ms is not None and (self.best is None or time_ms < self.best[1]):
            self.best = tile, time_ms
            self._queue.clear()
