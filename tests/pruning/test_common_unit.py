"""One unit for several tiles."""

from __future__ import annotations

import pytest

from clprune.errors import UsageError
from clprune.pruning.common_unit import common_unit
from clprune.unit import Unit


@pytest.mark.parametrize(
    ("rows", "common", "skipped"),
    [
        ([8], 8, [True]),
        ([8, 4], 8, [True, True]),
        ([4, 6], 12, [True, True]),
        ([12, 16], 48, [True, True]),
        ([14, 16], 14, [True, False]),  # 112 rows would be too many
        ([6, 14, 16, 8], 48, [True, False, True, True]),
        ([128, 32], 128, [True, True]),  # a tile may be taller than the limit
        ([128, 24], 24, [False, True]),
        ([1, 1], 1, [True, True]),
    ],
)
def test_the_least_common_multiple_within_bounds(rows: list[int], common: int, skipped: list[bool]) -> None:
    found = common_unit([Unit(rows=height) for height in rows])
    assert found.unit == Unit(rows=common)
    assert list(found.skipped) == skipped


def test_columns_and_the_limit_are_parameters() -> None:
    units = [Unit(rows=4, columns=2), Unit(rows=8, columns=3)]
    assert common_unit(units).unit == Unit(rows=8, columns=6)
    assert common_unit([Unit(rows=4), Unit(rows=6)], most_rows=6).unit == Unit(rows=4)


def test_no_device_is_refused() -> None:
    with pytest.raises(UsageError, match="no device"):
        common_unit([])
