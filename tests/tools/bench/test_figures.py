"""Best, median, ratios, and which goals are met."""

from __future__ import annotations

import pytest

from clprune.errors import UsageError
from clprune.turns import Series
from tools.bench.figures import Figure, time_ratio


def test_series() -> None:
    series = Series(samples_ms=(4.0, 1.0, 3.0))
    assert (series.best_ms, series.median_ms) == (1.0, 3.0)
    assert series.to_dict() == {"runs": 3, "best_ms": 1.0, "median_ms": 3.0, "quartiles_ms": [1.0, 4.0]}
    assert Series(samples_ms=(2.0,)).to_dict()["quartiles_ms"] == [2.0, 2.0]


def test_series_of_nothing() -> None:
    with pytest.raises(UsageError, match="expected at least one"):
        Series(samples_ms=())


def test_ratio_takes_the_fastest_rival_for_best_and_median_apart() -> None:
    own = Series(samples_ms=(2.0, 4.0, 6.0))
    quick_at_best = Series(samples_ms=(4.0, 100.0, 100.0))
    steady = Series(samples_ms=(8.0, 8.0, 8.0))
    figure = time_ratio("own / fastest", own, [quick_at_best, steady], goal=0.5)
    assert (figure.best, figure.median) == (0.5, 0.5)
    assert figure.is_met
    assert figure.row() == ("own / fastest", "0.5", "0.5", "<= 0.5", "yes")


@pytest.mark.parametrize(
    ("best", "goal", "is_at_most", "is_met", "text"),
    [
        (0.43, 0.42, True, False, "<= 0.42 s"),
        (0.42, 0.42, True, True, "<= 0.42 s"),
        (91.9, 92, False, False, ">= 92 s"),
        (92.0, 92, False, True, ">= 92 s"),
        (92.0, None, False, None, "-"),
    ],
)
def test_goals(best: float, goal: float | None, is_at_most: bool, is_met: bool | None, text: str) -> None:
    figure = Figure(name="it", best=best, goal=goal, is_at_most=is_at_most, unit=" s")
    assert figure.is_met is is_met
    assert figure.goal_text == text
    assert figure.row()[2] == "-"
    assert figure.to_dict()["is_met"] is is_met
