"""Gaussian-process regression over groups of points: what a few measured candidates say about all others.

Covariance of two points (x, group) and (x', group'):

    signal^2 * Matern-5/2(r) * likeness[group, group']  +  offset^2 * [group = group']
    r^2 = sum over features of ((x - x')^2 + jump^2 * [x != x']) / lengths^2

Any two different values of a feature are apart by at least the jump: times are smooth in a parameter only in part, what
else a value brings (a multiple of a warp, a full line of cache) its neighbours do not have, but other tiles with it do.
Groups are problems: `likeness` says how much one problem's measurements tell about another's. Length scales, signal,
offset, noise and jump maximise the marginal likelihood (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, chapters 2 and 5); a seeded stochastic hill climb is enough for that and needs no gradients.

Points are taken in one after the other, which is a Cholesky factorisation row by row: a search wants to know the mean
and variance of every candidate after each of them. There is no linear algebra library in this on purpose: its threads
would fight with the drivers' for the cores.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Logarithm of the jump that is supposed before much is known.
USUAL_JUMP = -1.5

_SQRT5 = np.sqrt(5.0)
_LEAST_VARIANCE = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class Hyperparameters:
    """Natural logarithms of the covariance's parameters; `lengths` `[features]`."""

    lengths: Array
    signal: float
    offset: float
    noise: float
    jump: float

    def moved(self, step: Array) -> Hyperparameters:
        """Each parameter plus its part of `step` `[features + 4]`, within bounds that keep the matrices sane."""
        lengths = np.clip(self.lengths + step[:-4], np.log(0.1), np.log(20.0))
        return Hyperparameters(
            lengths=lengths,
            signal=float(np.clip(self.signal + step[-4], np.log(0.1), np.log(10.0))),
            offset=float(np.clip(self.offset + step[-3], np.log(0.1), np.log(10.0))),
            noise=float(np.clip(self.noise + step[-2], np.log(0.01), np.log(1.0))),
            jump=float(np.clip(self.jump + step[-1], np.log(0.01), np.log(2.0))),
        )


def default_hyperparameters(features: int) -> Hyperparameters:
    """Smooth over the whole range of every feature, little noise: for data scaled to variance 1."""
    return Hyperparameters(
        lengths=np.full(features, np.log(1.0)), signal=0.0, offset=np.log(0.5), noise=np.log(0.05), jump=USUAL_JUMP
    )


class GaussianProcess:
    """Mean and variance `[points]` of points `x` `[points, features]` in `groups` `[points]`, given what was observed.

    Before any observation the mean is 0.
    """

    def __init__(self, x: Array, *, groups: Integers, likeness: Array, hyperparameters: Hyperparameters) -> None:
        p = hyperparameters
        self._features = np.ascontiguousarray(x.T)
        self._scaled = np.ascontiguousarray((x * np.exp(-p.lengths)).T)
        self._jumps2 = np.exp(2 * (p.jump - p.lengths))
        self._squares: dict[tuple[int, float], Array] = {}
        self._groups, self._likeness = groups, likeness
        self._signal2, self._offset2 = float(np.exp(2 * p.signal)), float(np.exp(2 * p.offset))
        self._noise2 = float(np.exp(2 * p.noise))
        self._rows = np.empty((16, len(x)))
        self._count = 0
        self._expected: deque[tuple[int, Array, float]] = deque()
        self.mean = np.zeros(len(x))
        self.variance = np.full(len(x), self._signal2 + self._offset2)

    @property
    def deviation(self) -> Array:
        """Standard deviations `[points]`, noise not included."""
        return np.asarray(np.sqrt(np.maximum(self.variance, _LEAST_VARIANCE)), np.float64)

    def observe(self, number: int, value: float) -> None:
        """Take in the value of point `number`."""
        self.expect(number)
        self.resolve(value)

    def expect(self, number: int) -> None:
        """Point `number` will be observed: its value changes the mean later, that it will be known the variance now."""
        column = self._covariances(number)
        if self._count:
            known = self._rows[: self._count]
            column -= np.einsum("kp,k->p", known, known[:, number])
        doubt = max(float(self.variance[number]), 0.0) + self._noise2
        step = column / np.sqrt(doubt)
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = step
        self._count += 1
        self.variance -= step**2
        self._expected.append((number, step, doubt))

    def resolve(self, value: float) -> None:
        """The value of the point that has been expected for longest."""
        number, step, doubt = self._expected.popleft()
        surprise = value - float(self.mean[number])
        self.mean += step * (surprise / np.sqrt(doubt))

    def _covariances(self, number: int) -> Array:
        """`[points]`: of all points with one, before any observation."""
        squares = np.zeros(self._scaled.shape[1])
        for feature in range(len(self._scaled)):
            squares += self._square(feature, number)
        root = _SQRT5 * np.sqrt(squares)
        group = self._groups[number]
        matern = (1 + root + root**2 / 3) * np.exp(-root) * self._likeness[self._groups, group]
        return np.asarray(self._signal2 * matern + self._offset2 * (self._groups == group), np.float64)

    def _square(self, feature: int, number: int) -> Array:
        """`[points]`: the part of a feature in r^2 to one point; the same for every point with its value."""
        key = feature, float(self._features[feature, number])
        if key not in self._squares:
            scaled = self._scaled[feature]
            difference = scaled - scaled[number]
            self._squares[key] = difference**2 + self._jumps2[feature] * (difference != 0)
        return self._squares[key]


def fit_hyperparameters(
    x: Array,
    y: Array,
    *,
    groups: Integers,
    likeness: Array,
    start: Hyperparameters,
    steps: int,
    generator: np.random.Generator,
) -> Hyperparameters:
    """Hyperparameters that make values `y` `[points]` likelier than `start` does.

    `steps` random moves, the better ones kept; costs O(steps * points^3).
    """

    likelihood = _Likelihood(x, y, groups=groups, likeness=likeness)

    def score(parameters: Hyperparameters) -> float:
        prior = 0.05 * float((parameters.lengths**2).sum())  # few points say little about a length scale, or a jump
        return likelihood(parameters) - prior - 0.1 * (parameters.jump - USUAL_JUMP) ** 2

    best, best_score, scale = start, score(start), 0.8
    for _ in range(steps):
        chosen = generator.random(len(start.lengths) + 4) < 0.4
        candidate = best.moved(chosen * generator.normal(0, scale, len(chosen)))
        candidate_score = score(candidate)
        if candidate_score > best_score:
            best, best_score, scale = candidate, candidate_score, min(1.2, scale * 1.2)
        else:
            scale = max(0.15, scale * 0.93)
    return best


class _Likelihood:
    """Logarithm of the likelihood of values `y` `[points]` in a `GaussianProcess`, at ever other hyperparameters."""

    def __init__(self, x: Array, y: Array, *, groups: Integers, likeness: Array) -> None:
        self._y = y
        self._pairs = np.tril_indices(len(y))
        first, second = self._pairs
        difference = (x[first] - x[second]).T
        self._squares = np.ascontiguousarray(difference**2)
        self._differs = np.ascontiguousarray(difference != 0).astype(np.float64)
        self._likeness = likeness[groups[first], groups[second]]
        self._is_same = (groups[first] == groups[second]).astype(np.float64)

    def __call__(self, p: Hyperparameters) -> float:
        """Up to a constant."""
        weights = np.exp(-2 * p.lengths)
        squares = np.einsum("f,fp->p", weights, self._squares)
        squares += np.exp(2 * p.jump) * np.einsum("f,fp->p", weights, self._differs)
        root = _SQRT5 * np.sqrt(squares)
        covariances = np.exp(2 * p.signal) * self._likeness * (1 + root + root**2 / 3) * np.exp(-root)
        covariances += np.exp(2 * p.offset) * self._is_same
        table = np.empty((len(self._y) + 1, len(self._y)))
        table[self._pairs] = covariances
        table[-1] = self._y
        return _log_density(table, noise2=float(np.exp(2 * p.noise)))


def _log_density(table: Array, *, noise2: float) -> float:
    """Of normal variables at given values, up to a constant.

    `table` `[points + 1, points]` has their covariances without the noise, of which the lower half is read, and below
    them the values. Cholesky's factor is found column by column, and with it what solves for the values.
    """
    columns = np.empty(table.shape[::-1])
    total = 0.0
    for number in range(len(columns)):
        column = table[number:, number] - np.einsum("kp,k->p", columns[:number, number:], columns[:number, number])
        doubt = max(float(column[0]), 0.0) + noise2
        column /= np.sqrt(doubt)
        columns[number, number:] = column
        total -= 0.5 * (float(column[-1]) ** 2 + float(np.log(doubt)))
    return total
