"""Which candidate to try next, by a model of what was measured here and on similar problems.

Bayesian optimisation (Jones, Schonlau and Welch, Efficient Global Optimization, 1998): a Gaussian process over the
tiles' parameters predicts the logarithm of the time; the tile with the largest expected improvement comes next. Several
tiles can be asked for at once: each is believed to take its predicted time until it is told.

Transfer: tiles that were best for similar problems are tried first, and everything measured for those problems enters
the model as points of another group, believed the less the farther the problem is.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.kernels.tile import Value
from clprune.tuning.features import encode
from clprune.tuning.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    default_hyperparameters,
    fit_hyperparameters,
)

Array = npt.NDArray[np.float64]

#: Tiles tried at random, besides the starts, before the model is asked; none where similar problems are known. The
#: model's own doubt leads away from what was tried, so that even its first choices teach more than chance would.
RANDOM_TILES = 1

#: Logarithm of how much slower than the best a tile can look to the model: what is hopeless need not be told apart.
WORST = math.log(4.0)

#: The likeness of problems at distance d (see clprune.tiles.distance) is exp(-d / this).
DISTANCE_SCALE = 6.0
MOST_SIMILAR = 3
MOST_SIMILAR_TILES = 80

#: Points from which hyperparameters are fitted: the fastest, and as many of the others.
MOST_FITTED = 120

#: Tiles of this problem from which the model is made: the fastest, and as many of the others.
MOST_OBSERVED = 400

#: Tiles whose times are predicted before one is chosen.
MOST_PREDICTED = 4000
_CENTRES, _NEAR_STEPS = 5, 2  # in larger spaces: those that differ from one of so many best in so few parameters

_FIT_STEPS = 30

#: Share of the fits that begin anew: what few tiles suggested once must not narrow the search for good.
_FRESH_FITS = 0.5

#: The model is made anew, with hyperparameters fitted anew, when there are this many times as many points.
_REBUILD_GROWTH = 1.4


@dataclass(frozen=True, kw_only=True)
class Similar:
    """What is known of a similar problem: tile -> milliseconds, None where invalid; and how far it is."""

    times_ms: Mapping[Any, float | None]
    distance: float


@dataclass(kw_only=True, eq=False)
class _View:
    """The model at work: its first points are the tiles `numbers`; `places` leads back from a number to its point.

    A value is (ln(time / reference) - mean) / scale. `promised` are tiles whose values the process expects, in order.
    """

    process: GaussianProcess
    numbers: npt.NDArray[np.int64]
    places: Mapping[int, int]
    is_tried: npt.NDArray[np.bool_]
    scaling: _Scaling
    known_at_first: int
    promised: deque[int] = field(default_factory=deque)

    def promise(self, number: int) -> None:
        """Tile `number` is being measured."""
        place = self.places.get(number)
        if place is not None:
            self.is_tried[place] = True
            self.process.expect(place)
            self.promised.append(number)


@dataclass(frozen=True, kw_only=True)
class _Scaling:
    """From milliseconds to values of mean 0 and variance 1."""

    reference_ms: float
    mean: float
    scale: float

    def value(self, time_ms: float | None) -> float:
        return (_log_slowdown(time_ms, self.reference_ms) - self.mean) / self.scale


class ModelSearch:
    """Proposes tiles; `ask()` returns None when none is left, and may be called again before `tell()`.

    `candidates` is the valid part of the space, `starts` are tried first, `known` are outcomes of earlier runs
    (milliseconds, None where invalid), `similar` those of other problems. Everything random follows from `seed`.
    """

    def __init__(
        self,
        candidates: Sequence[Any],
        *,
        parameters: Mapping[str, Sequence[Value]],
        starts: Sequence[Any] = (),
        known: Mapping[Any, float | None] | None = None,
        similar: Sequence[Similar] = (),
        seed: int = 0,
    ) -> None:
        self._tiles = list(candidates)
        self._number = {tile: number for number, tile in enumerate(self._tiles)}
        parameters = {name: values for name, values in parameters.items() if len(values) > 1}
        self._points = encode(self._tiles, parameters=parameters)
        self._generator = np.random.default_rng(seed)
        self._known = {tile: time_ms for tile, time_ms in (known or {}).items() if tile in self._number}
        self._pending: dict[Any, None] = {}
        self._is_untried = np.array([tile not in self._known for tile in self._tiles], np.bool_)
        self._similar = _prepared(similar, parameters=parameters, generator=self._generator)
        self._queue = [tile for tile in dict.fromkeys(starts) if tile in self._number]
        count = RANDOM_TILES if not similar else 0
        order = self._generator.permutation(len(self._tiles))
        self._queue += [self._tiles[int(number)] for number in order[:count]]
        self._hyperparameters: Hyperparameters | None = None
        self._view: _View | None = None
        self.expected_improvement = math.inf

    @property
    def best(self) -> tuple[Any, float] | None:
        """The fastest tile known, and its milliseconds."""
        return next(iter(self.fastest(1)), None)

    def fastest(self, count: int) -> list[tuple[Any, float]]:
        """At most `count` tiles with their milliseconds, the fastest first."""
        timed = [(tile, time_ms) for tile, time_ms in self._known.items() if time_ms is not None]
        return heapq.nsmallest(count, timed, key=lambda item: item[1])

    def is_invalid(self, tile: Any) -> bool:
        """Whether it was tried, and has no time."""
        return tile in self._known and self._known[tile] is None

    def ask(self) -> Any | None:
        """The next tile to measure. `expected_improvement` then says what share of the time the model hopes to save."""
        tile = self._next_in_queue()
        if tile is None:
            number = self._most_promising()
            if number is None:
                return None
            tile = self._tiles[number]
        self._pending[tile] = None
        self._is_untried[self._number[tile]] = False
        if self._view is not None:
            self._view.promise(self._number[tile])
        return tile

    def tell(self, tile: Any, time_ms: float | None) -> None:
        """Report the outcome of a tile: milliseconds, or None where it is invalid."""
        self._pending.pop(tile, None)
        self._known[tile] = time_ms
        self._is_untried[self._number[tile]] = False
        view = self._view
        if view is None:
            return
        if self._number[tile] not in view.promised:
            view.promise(self._number[tile])
        while view.promised and (first := self._tiles[view.promised[0]]) in self._known:
            view.process.resolve(view.scaling.value(self._known[first]))
            view.promised.popleft()

    def _next_in_queue(self) -> Any | None:
        while self._queue:
            tile = self._queue.pop(0)
            if tile not in self._known and tile not in self._pending:
                return tile
        return None

    def _most_promising(self) -> int | None:
        """The number of the untried tile with the largest expected improvement."""
        best = self.best
        if best is None or len(self._known) + len(self._pending) >= len(self._tiles):
            untried = self._untried()
            return int(self._generator.choice(untried)) if len(untried) else None
        view = self._view
        if view is None or len(self._known) >= _REBUILD_GROWTH * view.known_at_first or view.is_tried.all():
            self._view = view = self._look(best[1])
        count = len(view.numbers)
        gain = view.scaling.value(best[1]) - view.process.mean[:count]
        improvement = _expected_improvement(gain, view.process.deviation[:count])
        improvement[view.is_tried] = -1.0
        place = int(np.argmax(improvement))
        self.expected_improvement = float(improvement[place] * view.scaling.scale)
        return int(view.numbers[place])

    def _untried(self) -> npt.NDArray[np.int64]:
        """Numbers of tiles that are neither known nor pending; of very many, those near the best and some others."""
        untried = np.flatnonzero(self._is_untried)
        centres = self._points[[self._number[tile] for tile, _ in self.fastest(_CENTRES)]]
        if len(untried) <= MOST_PREDICTED or not len(centres):
            return untried
        steps = np.min([np.count_nonzero(self._points[untried] != centre, axis=1) for centre in centres], axis=0)
        order = np.lexsort((self._generator.random(len(untried)), steps > _NEAR_STEPS))
        return untried[order[:MOST_PREDICTED]]

    def _look(self, best_ms: float) -> _View:
        """Make the model of everything known now."""
        known = self._worth_observing()
        pending = [self._number[tile] for tile in self._pending]
        untried = self._untried()
        numbers = np.concatenate([np.array([n for n, _ in known] + pending, np.int64), untried])
        x = np.concatenate([self._points[numbers], *(other.points for other in self._similar)])
        groups = np.concatenate(
            [np.zeros(len(numbers), np.int64)]
            + [np.full(len(other.points), number, np.int64) for number, other in enumerate(self._similar, start=1)]
        )
        raw = np.array([_log_slowdown(time_ms, best_ms) for _, time_ms in known])
        every = np.concatenate([raw, *(other.values for other in self._similar)])
        scaling = _Scaling(reference_ms=best_ms, mean=float(every.mean()), scale=float(every.std()) or 1.0)
        observed = np.concatenate([np.arange(len(known)), np.arange(len(numbers), len(x))]).astype(np.int64)
        values = (every - scaling.mean) / scaling.scale
        likeness = self._likeness()
        self._fit(x[observed], values, groups[observed], likeness)
        assert self._hyperparameters is not None
        process = GaussianProcess(x, groups=groups, likeness=likeness, hyperparameters=self._hyperparameters)
        for place, value in zip(observed, values, strict=True):
            process.observe(int(place), float(value))
        view = _View(
            process=process,
            numbers=numbers,
            places={int(number): place for place, number in enumerate(numbers)},
            is_tried=np.arange(len(numbers)) < len(known),
            scaling=scaling,
            known_at_first=len(self._known),
        )
        for number in pending:
            view.promise(number)
        return view

    def _worth_observing(self) -> list[tuple[int, float | None]]:
        """Numbers and milliseconds of known tiles, not too many of them."""
        known = [(self._number[tile], time_ms) for tile, time_ms in self._known.items()]
        if len(known) <= MOST_OBSERVED:
            return known
        known.sort(key=lambda item: math.inf if item[1] is None else item[1])
        fast, rest = known[: MOST_OBSERVED // 2], known[MOST_OBSERVED // 2 :]
        return fast + [rest[int(place)] for place in self._generator.permutation(len(rest))[: MOST_OBSERVED // 2]]

    def _fit(self, x: Array, y: Array, groups: npt.NDArray[np.int64], likeness: Array) -> None:
        """Fit the hyperparameters to the fastest points and as many of the others."""
        order = np.argsort(y, kind="stable")
        half = MOST_FITTED // 2
        rest = self._generator.permutation(order[half:])[:half]
        chosen = np.concatenate([order[:half], rest]).astype(np.int64)
        start = self._hyperparameters
        if start is None or self._generator.random() < _FRESH_FITS:
            start = default_hyperparameters(x.shape[1])
        self._hyperparameters = fit_hyperparameters(
            x[chosen],
            y[chosen],
            groups=groups[chosen],
            likeness=likeness,
            start=start,
            steps=_FIT_STEPS,
            generator=self._generator,
        )

    def _likeness(self) -> Array:
        """`[groups, groups]`: from the distances to this problem; two similar problems are as like as their ways."""
        to_here = np.array([0.0, *(other.distance for other in self._similar)])
        likeness: Array = np.exp(-(to_here[:, None] + to_here[None, :]) / DISTANCE_SCALE)
        np.fill_diagonal(likeness, 1.0)
        return likeness


@dataclass(frozen=True, kw_only=True, eq=False)
class _Points:
    """What the model takes from a similar problem: tiles as `points` `[tiles, features]`, logarithms of slowdown."""

    points: Array
    values: Array
    distance: float


def _prepared(
    similar: Sequence[Similar], *, parameters: Mapping[str, Sequence[Value]], generator: np.random.Generator
) -> list[_Points]:
    """Of the nearest problems: their fast tiles, and some of the others."""
    prepared = []
    for other in sorted(similar, key=lambda item: item.distance)[:MOST_SIMILAR]:
        timed = {tile: time_ms for tile, time_ms in other.times_ms.items() if time_ms is not None}
        encodable = [tile for tile in timed if _is_inside(tile, parameters)]
        if len(encodable) < 2:
            continue
        ordered = sorted(encodable, key=lambda tile: timed[tile])
        fast, rest = ordered[: MOST_SIMILAR_TILES // 2], ordered[MOST_SIMILAR_TILES // 2 :]
        some = generator.permutation(len(rest))[: MOST_SIMILAR_TILES // 2]
        tiles = fast + [rest[int(number)] for number in some]
        values = np.array([_log_slowdown(timed[tile], timed[ordered[0]]) for tile in tiles])
        points = encode(tiles, parameters=parameters)
        prepared.append(_Points(points=points, values=values, distance=other.distance))
    return prepared


def _is_inside(tile: Any, parameters: Mapping[str, Sequence[Value]]) -> bool:
    """Whether every parameter has one of the values that the space has now."""
    return all(getattr(tile, name) in values for name, values in parameters.items())


def _log_slowdown(time_ms: float | None, best_ms: float) -> float:
    """ln(time / best), at most WORST; an invalid tile is as bad as the worst."""
    return WORST if time_ms is None else min(WORST, math.log(time_ms / best_ms))


def _expected_improvement(gain: Array, deviation: Array) -> Array:
    """Of a normal variable with mean `gain`: the mean of its positive part."""
    ratio = gain / deviation
    density = np.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + _erf(ratio / math.sqrt(2)))
    improvement: Array = gain * below + deviation * density
    return improvement


def _erf(x: Array) -> Array:
    """The error function to 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    result: Array = np.sign(x) * (1 - polynomial * np.exp(-(x**2)))
    return result
