"""Gaussian-process regression over groups of points: what a few measured candidates say about all others.

Covariance of two points (x, group) and (x', group'):

    signal^2 * Matern-5/2(|(x - x') / lengths|) * likeness[group, group']  +  offset^2 * [group = group']

Groups are problems: `likeness` says how much one problem's measurements tell about another's. Length scales, signal,
offset and noise maximise the marginal likelihood (Rasmussen and Williams, Gaussian Processes for Machine Learning,
2006, chapters 2 and 5); a seeded stochastic hill climb is enough for that and needs no gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SQRT5 = np.sqrt(5.0)
_JITTER = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Hyperparameters:
    """Natural logarithms of the covariance's parameters; `lengths` `[features]`."""

    lengths: Array
    signal: float
    offset: float
    noise: float

    def moved(self, step: Array) -> Hyperparameters:
        """Each parameter plus its part of `step` `[features + 3]`, within bounds that keep the matrices sane."""
        lengths = np.clip(self.lengths + step[:-3], np.log(0.1), np.log(20.0))
        return Hyperparameters(
            lengths=lengths,
            signal=float(np.clip(self.signal + step[-3], np.log(0.1), np.log(10.0))),
            offset=float(np.clip(self.offset + step[-2], np.log(0.1), np.log(10.0))),
            noise=float(np.clip(self.noise + step[-1], np.log(0.01), np.log(1.0))),
        )


def default_hyperparameters(features: int) -> Hyperparameters:
    """Smooth over the whole range of every feature, little noise: for data scaled to variance 1."""
    return Hyperparameters(lengths=np.full(features, np.log(1.0)), signal=0.0, offset=np.log(0.5), noise=np.log(0.05))


class GaussianProcess:
    """Points `x` `[n, features]` of `groups` `[n]` with values `y` `[n]`; predictions are for group 0."""

    def __init__(
        self, x: Array, y: Array, *, groups: Integers, likeness: Array, hyperparameters: Hyperparameters
    ) -> None:
        """Condition on the data; costs O(n^3)."""
        self._x, self._groups, self._likeness = x, groups, likeness
        self._parameters = hyperparameters
        self._mean = float(y.mean())
        centred = y - self._mean
        covariance = self._covariance(x, groups)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * hyperparameters.noise) + _JITTER
        self._factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
        self._weights = _solve_upper(self._factor, _solve_lower(self._factor, centred))
        half_determinant = float(np.log(np.diag(self._factor)).sum())
        self.log_likelihood = -0.5 * float(centred @ self._weights) - half_determinant

    def predict(self, x: Array) -> Prediction:
        """What the data say of points `[m, features]` of group 0, noise not included."""
        cross = self._covariance(x, np.zeros(len(x), np.int64))
        total = float(np.exp(2 * self._parameters.signal) + np.exp(2 * self._parameters.offset))
        reduction = _solve_lower(self._factor, cross.T)
        return Prediction(
            process=self,
            x=x,
            mean=self._mean + cross @ self._weights,
            variance=total - np.einsum("nm,nm->m", reduction, reduction),
            reduction=reduction,
        )

    def prior(self, x: Array, point: Array) -> Array:
        """Covariances `[m]` of points of group 0 with one more, before any data."""
        return _kernel(self._parameters, x, point[None], likeness=1.0, same=True)[:, 0]

    @property
    def noise_variance(self) -> float:
        return float(np.exp(2 * self._parameters.noise))

    def _covariance(self, x: Array, groups: Integers) -> Array:
        """`[len(x), n]` between new points and the data."""
        return _kernel(
            self._parameters,
            x,
            self._x,
            likeness=self._likeness[groups[:, None], self._groups[None, :]],
            same=groups[:, None] == self._groups[None, :],
        )


@dataclass(kw_only=True, eq=False)
class Prediction:
    """Mean and variance `[m]` at points `x` `[m, features]`, kept up to date while points are chosen for measuring."""

    process: GaussianProcess
    x: Array
    mean: Array
    variance: Array
    reduction: Array

    @property
    def deviation(self) -> Array:
        return np.asarray(np.sqrt(np.maximum(self.variance, 1e-12)), np.float64)

    def choose(self, number: int) -> None:
        """Expect point `number` to be measured, with the mean as its value: that changes the variances only."""
        column = self.process.prior(self.x, self.x[number]) - self.reduction.T @ self.reduction[:, number]
        step = column / np.sqrt(max(self.variance[number], 1e-12) + self.process.noise_variance)
        self.reduction = np.vstack([self.reduction, step[None]])
        self.variance = self.variance - step**2


def _kernel(
    p: Hyperparameters, x: Array, y: Array, *, likeness: Array | float, same: npt.NDArray[np.bool_] | bool
) -> Array:
    """The covariance of the module's docstring, `[len(x), len(y)]`."""
    scale = np.exp(-p.lengths)
    a, b = x * scale, y * scale
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    root = _SQRT5 * np.sqrt(np.maximum(squares, 0))
    matern = (1 + root + root**2 / 3) * np.exp(-root)
    return np.asarray(np.exp(2 * p.signal) * matern * likeness + np.exp(2 * p.offset) * same, np.float64)


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
    """Hyperparameters that make the data likelier than `start` does: `steps` random moves, the better ones kept."""

    def score(parameters: Hyperparameters) -> float:
        process = GaussianProcess(x, y, groups=groups, likeness=likeness, hyperparameters=parameters)
        prior = 0.05 * float(((parameters.lengths) ** 2).sum())  # few points say little about a length scale
        return process.log_likelihood - prior

    best, best_score, scale = start, score(start), 0.8
    for _ in range(steps):
        chosen = generator.random(len(start.lengths) + 3) < 0.4
        candidate = best.moved(chosen * generator.normal(0, scale, len(chosen)))
        candidate_score = score(candidate)
        if candidate_score > best_score:
            best, best_score, scale = candidate, candidate_score, min(1.2, scale * 1.2)
        else:
            scale = max(0.15, scale * 0.93)
    return best


def _solve_lower(factor: Array, right: Array) -> Array:
    """`factor` is lower triangular; NumPy has no triangular solver, and its general one is quick enough here."""
    return np.asarray(np.linalg.solve(factor, right), np.float64)


def _solve_upper(factor: Array, right: Array) -> Array:
    return np.asarray(np.linalg.solve(factor.T, right), np.float64)
