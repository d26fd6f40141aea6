"""The regression behind the search: it interpolates, knows what it does not know, and learns which features matter."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.tuning.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    default_hyperparameters,
    fit_hyperparameters,
)

ALONE = np.ones((1, 1))


def process(x: list[list[float]], y: list[float], *, noise: float = 0.01, **others: object) -> GaussianProcess:
    parameters = Hyperparameters(lengths=np.log([0.5] * len(x[0])), signal=0.0, offset=np.log(0.1), noise=np.log(noise))
    facts: dict[str, object] = {"groups": np.zeros(len(x), np.int64), "likeness": ALONE, **others}
    return GaussianProcess(np.array(x), np.array(y), hyperparameters=parameters, **facts)  # type: ignore[arg-type]


def test_data_are_met_and_doubt_grows_away_from_them() -> None:
    view = process([[0.0], [0.5], [1.0]], [1.0, -1.0, 2.0]).predict(np.array([[0.0], [0.5], [0.25], [4.0]]))
    assert view.mean[:2] == pytest.approx([1.0, -1.0], abs=0.01)
    assert view.deviation[0] < 0.02 < view.deviation[2] < view.deviation[3]
    assert view.mean[3] == pytest.approx(2 / 3, abs=0.05)  # far away: the mean of all


def test_hand_computed_single_point() -> None:
    """One point: mean and variance follow from one covariance."""
    view = process([[0.0]], [3.0]).predict(np.array([[0.5]]))
    root = np.sqrt(5.0)  # distance over length is 1
    covariance = (1 + root + 5 / 3) * np.exp(-root) + 0.01
    total = 1 + 0.01
    assert view.mean[0] == pytest.approx(3.0)
    assert view.variance[0] == pytest.approx(total - covariance**2 / (total + 1e-4 + 1e-8))


def test_choosing_a_point_is_like_measuring_its_mean() -> None:
    x = np.array([[0.0], [0.3], [0.6], [2.0]])
    before = process([[0.0], [1.0]], [0.0, 1.0]).predict(x)
    mean = before.mean.copy()
    before.choose(1)
    after = process([[0.0], [1.0], [0.3]], [0.0, 1.0, float(mean[1])]).predict(x)
    assert before.mean == pytest.approx(mean)
    assert before.variance == pytest.approx(after.variance, abs=1e-6)


def test_other_groups_count_by_their_likeness() -> None:
    def mean_near(likeness: float) -> float:
        matrix = np.array([[1.0, likeness], [likeness, 1.0]])
        groups = np.array([0, 0, 1])
        x, y = [[0.0], [3.0], [1.0]], [0.0, 0.0, 5.0]
        return float(process(x, y, groups=groups, likeness=matrix).predict(np.array([[1.0]])).mean[0])

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

    def likelihood(parameters: Hyperparameters) -> float:
        return GaussianProcess(x, y, groups=groups, likeness=ALONE, hyperparameters=parameters).log_likelihood

    assert likelihood(found) > likelihood(start)
