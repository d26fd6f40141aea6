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

    `candidates` is the valid part of the space, `starts` are tried first, `known` are outcomes of earlier runs
    (milliseconds, None where invalid).
    """

    def __init__(
        self,
        candidates: Sequence[Any],
        *,
        parameters: Mapping[str, Sequence[Any]],
        starts: Sequence[Any],
        known: Mapping[Any, float | None],
        seed: int,
    ) -> None:
        self._valid = set(candidates)
        self._all = list(candidates)
        self._parameters = parameters
        self._known = dict(known)
        self._generator = np.random.default_rng(seed)
        self._queue = [tile for tile in starts if tile in self._valid]
        self._centre: Any = None
        self._restart_at = 0.0
        self._shuffled = iter(self._generator.permutation(len(self._all)))

    @property
    def best(self) -> tuple[Any, float] | None:
        """The fastest tile known, and its milliseconds."""
        known = self._known.items()
        timed = [(tile, time_ms) for tile, time_ms in known if time_ms is not None and tile in self._valid]
        return min(timed, key=lambda item: item[1]) if timed else None

    def ask(self) -> Any | None:
        """The next tile to measure."""
        while True:
            while self._queue:
                tile = self._queue.pop(0)
                if tile not in self._known:
                    return tile
            best = self.best
            if best is not None and best[0] != self._centre:
                self._centre = best[0]
                around = [tile for tile in neighbours(best[0], self._parameters) if tile in self._valid]
                self._queue = [around[index] for index in self._generator.permutation(len(around))]
                continue
            restart = next((int(index) for index in self._shuffled if self._all[int(index)] not in self._known), None)
            if restart is None:
                return None
            return self._all[restart]

    def tell(self, tile: Any, time_ms: float | None) -> None:
        """Report the outcome of a tile; a new best puts its neighbours next."""
        best = self.best
        self._known[tile] = time_ms
        if time_ms is not None and (best is None or time_ms < best[1]):
            self._queue.clear()
