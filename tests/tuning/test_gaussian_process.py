"""The regression behind the search: it interpolates, knows what it does not know, and learns which features matter."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.tuning.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    _Likelihood,
    default_hyperparameters,
    fit_hyperparameters,
)

ALONE = np.ones((1, 1))
NOISE = 0.01


def process(
    x: list[list[float]], *, groups: list[int] | None = None, likeness: object = ALONE, jump: float = 0.0
) -> GaussianProcess:
    """Length scales of 0.5, signal 1, offset 0.1."""
    with np.errstate(divide="ignore"):
        parameters = Hyperparameters(
            lengths=np.log([0.5] * len(x[0])), signal=0.0, offset=np.log(0.1), noise=np.log(NOISE), jump=np.log(jump)
        )
    return GaussianProcess(
        np.array(x),
        groups=np.array(groups or [0] * len(x)),
        likeness=np.array(likeness),
        hyperparameters=parameters,
    )


def covariance(distance: float) -> float:
    """Matern-5/2 at this distance, and the offset."""
    root = np.sqrt(5.0) * distance / 0.5
    return float((1 + root + root**2 / 3) * np.exp(-root)) + 0.01


def test_nothing_observed() -> None:
    view = process([[0.0], [1.0]])
    assert view.mean.tolist() == [0, 0]
    assert view.variance == pytest.approx([1.01, 1.01])


def test_observations_are_met_and_doubt_grows_away_from_them() -> None:
    view = process([[0.0], [0.5], [1.0], [0.25], [4.0]])
    for number, value in enumerate((1.0, -1.0, 2.0)):
        view.observe(number, value)
    assert view.mean[:3] == pytest.approx([1.0, -1.0, 2.0], abs=0.01)
    assert view.deviation[0] < 0.02 < view.deviation[3] < view.deviation[4]
    assert abs(view.mean[4]) < 0.1


def test_same_as_the_textbooks_matrices() -> None:
    x, y = [[0.0], [0.3], [0.9], [1.4]], np.array([1.0, -2.0, 0.5])
    view = process(x)
    for number, value in enumerate(y):
        view.observe(number, value)
    full = np.array([[covariance(abs(a[0] - b[0])) for b in x] for a in x])
    known = full[:3, :3] + NOISE**2 * np.eye(3)
    assert view.mean == pytest.approx(full[:, :3] @ np.linalg.solve(known, y))
    assert view.variance == pytest.approx(np.diag(full - full[:, :3] @ np.linalg.solve(known, full[:3])), abs=1e-9)


def test_a_value_has_its_own_beside_what_it_shares_with_its_neighbours() -> None:
    """The larger the jump, the less was learnt about the value beside the one that was seen."""
    x = [[0.5, 0.0], [0.5, 1.0], [0.45, 0.0]]
    smooth, rough = process(x), process(x, jump=0.3)
    for view in (smooth, rough):
        view.observe(0, 1.0)
    assert rough.mean[2] < smooth.mean[2] - 0.05
    assert rough.mean[1] == pytest.approx((covariance(np.hypot(1.0, 0.3))) / (1.01 + NOISE**2))


def test_what_is_expected_narrows_the_doubt_at_once_and_moves_the_mean_later() -> None:
    x = [[0.0], [0.3], [0.6], [2.0]]
    at_once, later = process(x), process(x)
    at_once.observe(1, 2.0)
    at_once.observe(2, -1.0)
    later.expect(1)
    later.expect(2)
    assert later.variance == pytest.approx(at_once.variance)
    assert later.mean.tolist() == [0] * 4
    later.resolve(2.0)
    later.resolve(-1.0)
    assert later.mean == pytest.approx(at_once.mean)


def test_many_observations_of_one_point_are_averaged() -> None:
    view = process([[0.0], [1.0]])
    for value in (1.0, 2.0) * 20:
        view.observe(0, value)
    assert view.mean[0] == pytest.approx(1.5, abs=0.01)


def test_other_groups_count_by_their_likeness() -> None:
    def mean_near(likeness: float) -> float:
        view = process([[0.0], [3.0], [1.0], [1.0]], groups=[0, 0, 1, 0], likeness=[[1.0, likeness], [likeness, 1.0]])
        for number, value in enumerate((0.0, 0.0, 5.0)):
            view.observe(number, value)
        return float(view.mean[3])

    assert mean_near(0.0) < mean_near(0.5) < mean_near(0.95)


def test_fit_finds_the_feature_that_matters() -> None:
    generator = np.random.default_rng(0)
    x = generator.random((40, 2))
    y = np.sin(6 * x[:, 0])
    groups = np.zeros(40, np.int64)
    start = default_hyperparameters(2)
    found = fit_hyperparameters(
        x, y, groups=groups, likeness=ALONE, start=start, steps=60, generator=np.random.default_rng(1)
    )
    assert found.lengths[1] > found.lengths[0] + 0.5

    likelihood = _Likelihood(x, y, groups=groups, likeness=ALONE)
    assert likelihood(found) > likelihood(start)


def test_likelihood_is_the_textbooks() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 4, (30, 3)) / 4, generator.normal(size=30)
    groups, likeness = generator.integers(0, 2, 30), np.array([[1.0, 0.4], [0.4, 1.0]])
    likelihood = _Likelihood(x, y, groups=groups, likeness=likeness)
    for _ in range(5):
        p = default_hyperparameters(3).moved(generator.normal(0, 0.5, 7))
        difference = x[:, None] - x[None, :]
        squares = (difference**2 + np.exp(2 * p.jump) * (difference != 0)) / np.exp(2 * p.lengths)
        root = np.sqrt(5 * squares.sum(axis=2))
        matrix = np.exp(2 * p.signal) * (1 + root + root**2 / 3) * np.exp(-root) * likeness[groups][:, groups]
        matrix += np.exp(2 * p.offset) * (groups[:, None] == groups) + np.exp(2 * p.noise) * np.eye(30)
        expected = -0.5 * float(y @ np.linalg.solve(matrix, y)) - 0.5 * np.linalg.slogdet(matrix)[1]
        assert likelihood(p) == pytest.approx(expected)
