"""A layer's loss from its error: through the points that were judged, in proportion beyond them."""

from __future__ import annotations

import pytest

from clprune.fitting.anchors import loss_at

POINTS = [(0.1, 2.0), (0.001, 0.02), (0.01, 0.5)]


@pytest.mark.parametrize("point", POINTS)
def test_points_are_met(point: tuple[float, float]) -> None:
    assert loss_at(POINTS, point[0]) == pytest.approx(point[1])


def test_between_and_beyond() -> None:
    assert loss_at(POINTS, 10**-1.5) == pytest.approx(1.0)
    assert loss_at(POINTS, 0.2) == pytest.approx(4.0)
    assert loss_at(POINTS, 0.0005) == pytest.approx(0.01)
    assert loss_at(POINTS, 0.0) == 0


def test_too_few_points_say_nothing() -> None:
    assert loss_at([(0.1, 1.0), (0.0, 0.0), (0.2, 0.0)], 0.1) is None
