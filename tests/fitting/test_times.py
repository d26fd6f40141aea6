"""Times of layers as parts of whole networks, and between shares."""

from __future__ import annotations

import pytest

from clprune.fitting.kinds import Kind, kinds_of
from clprune.fitting.times import interpolated, overhead_of, parts_of


def test_layers_share_what_a_whole_inference_takes() -> None:
    assert parts_of(6.0, {0: 1.0, 3: 3.0}) == pytest.approx({0: 1.5, 3: 4.5})
    assert parts_of(3.0, {0: 1.0, 3: 3.0}) == pytest.approx({0: 0.75, 3: 2.25})
    assert parts_of(1.0, {0: 0.0}) == {0: 0.0}


def test_an_inference_has_a_part_that_no_layer_takes() -> None:
    assert overhead_of([(10.0, 11.5), (5.0, 6.0), (2.0, 2.7)]) == pytest.approx(0.5)
    assert overhead_of([(10.0, 10.5), (10.1, 10.7), (10.0, 10.4)]) == 0  # too alike
    assert overhead_of([(10.0, 11.5), (5.0, 6.0)]) == 0
    assert overhead_of([(10.0, 11.5), (5.0, 5.0), (2.0, 1.0)]) == 0  # less than nothing


def test_only_between_neighbours_that_do_not_rise() -> None:
    curve = {0.5: 4.0, 0.75: 2.0, 0.875: 3.0}
    assert interpolated(curve, 0.625) == pytest.approx(3.0)
    assert [interpolated(curve, share) for share in (0.25, 0.8, 0.95)] == [None, None, None]


def test_kinds_have_heights_where_those_matter() -> None:
    assert kinds_of(("workgroup", "unstructured", "filter")) == (
        Kind(method="workgroup"), Kind(method="workgroup", unit_rows=4), Kind(method="unstructured"),
        Kind(method="filter"),
    )  # fmt: skip
