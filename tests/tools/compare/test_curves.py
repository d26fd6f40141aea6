"""Fronts and what lies between their corners."""

from __future__ import annotations

import pytest

from tools.compare.curves import front, time_at

PLACES = [(0.9, 0.8), (0.8, 0.4), (0.7, 0.5), (0.6, 0.2), (0.9, 1.0)]


def test_the_front_leaves_out_what_is_beaten() -> None:
    assert front(PLACES) == [(0.9, 0.8), (0.8, 0.4), (0.6, 0.2)]
    assert front([]) == []


@pytest.mark.parametrize(
    ("accuracy", "time"), [(0.9, 0.8), (0.85, 0.6), (0.8, 0.4), (0.7, 0.3), (0.6, 0.2), (0.1, 0.2), (0.91, None)]
)
def test_times_lie_on_straight_lines_between_corners(accuracy: float, time: float | None) -> None:
    assert time_at(PLACES, accuracy) == (None if time is None else pytest.approx(time))
