"""Times of whole networks from those of layers, and between shares."""

from __future__ import annotations

import pytest

from clprune.fitting.kinds import Kind, kinds_of
from clprune.fitting.times import calibrate, interpolated


def test_a_line_through_whole_runs() -> None:
    found = calibrate([(10.0, 11.5), (5.0, 6.0), (2.0, 2.7)])
    assert (found.factor, found.overhead_ms) == pytest.approx((1.1, 0.5))
    assert found.error < 1e-9 and found.layers_ms(found.whole_ms(3.0)) == pytest.approx(3.0)


def test_one_run_gives_the_overhead() -> None:
    found = calibrate([(10.0, 10.5), (10.1, 10.7), (10.0, 10.4)])
    assert (found.factor, found.overhead_ms) == pytest.approx((1.0, 0.5))
    assert found.error == pytest.approx(0.1 / 10.4)


def test_only_between_neighbours_that_do_not_rise() -> None:
    curve = {0.5: 4.0, 0.75: 2.0, 0.875: 3.0}
    assert interpolated(curve, 0.625) == pytest.approx(3.0)
    assert [interpolated(curve, share) for share in (0.25, 0.8, 0.95)] == [None, None, None]


def test_kinds_have_heights_where_those_matter() -> None:
    assert kinds_of(("workgroup", "unstructured", "filter")) == (
        Kind(method="workgroup"), Kind(method="workgroup", unit_rows=4), Kind(method="unstructured"),
        Kind(method="filter"),
    )  # fmt: skip
