"""`filter`, `block` and `wavefront` against masks drawn by hand."""

from __future__ import annotations

import pytest
from numpy.testing import assert_array_equal

from clprune.pruning import UnitRequest
from clprune.pruning.registry import get_method
from clprune.unit import Unit
from tests.pruning.drawn import bits, mask_for, matrix

TILE = Unit(rows=8)


def test_filters_go_whole_whatever_the_unit() -> None:
    weights = matrix("1 1 1 1", "0 0 9 0", "2 2 2 0", "0 0 0 1", "3 -3 0 0")
    mask = mask_for("filter", weights, unit=Unit(rows=2, columns=3), sparsity=0.6)
    # sums of magnitudes 4 9 6 1 6: two of five stay, of the equal ones the first
    assert_array_equal(mask, bits("....", "####", "####", "....", "...."))


def test_filters_of_equal_norm_stay_by_index() -> None:
    mask = mask_for("filter", matrix("1 -1", "1 1", "2 0", "0 2"), unit=TILE, sparsity=0.5)
    assert_array_equal(mask, bits("##", "##", "..", ".."))
    by_squares = mask_for("filter", matrix("1 -1", "1 1", "2 0", "0 2"), unit=TILE, sparsity=0.5, criterion="l2")
    assert_array_equal(by_squares, bits("..", "..", "##", "##"))


def test_every_group_loses_as_many_filters() -> None:
    weights = matrix("9 9", "8 8", "7 7", "1 1", "3 3", "2 2")
    mask = mask_for("filter", weights, unit=TILE, sparsity=0.34, group_rows=3)
    assert_array_equal(mask, bits("##", "##", "..", "..", "##", "##"))
    assert_array_equal(mask_for("filter", weights, unit=TILE, sparsity=0.5), bits("##", "##", "##", "..", "..", ".."))


def test_blocks_with_partial_ones_at_both_edges() -> None:
    weights = matrix(
        "1 1 1 4 0 3",
        "1 1 1 0 0 3",
        "2 2 2 0 0 0",
        "2 2 2 0 0 0",
        "0 0 5 0 1 0",
    )
    # blocks of 2x4: root mean squares 1.66 (1,1,1,4 over 1,1,1,0) and 2.12; 1.73 and 0; 2.5 and 0.71
    mask = mask_for("block", weights, unit=Unit(rows=2, columns=4), sparsity=0.5)
    assert_array_equal(mask, bits("....##", "....##", "####..", "####..", "####.."))
    # by mean magnitudes: 1.13 and 1.5; 1.5 and 0; 1.25 and 0.5
    by_magnitude = mask_for("block", weights, unit=Unit(rows=2, columns=4), sparsity=0.67, criterion="l1")
    assert_array_equal(by_magnitude, bits("....##", "....##", "####..", "####..", "......"))


def test_blocks_are_judged_by_squares_unless_asked_otherwise() -> None:
    weights = matrix("4 0 3 3", "0 0 3 1")
    unit = Unit(rows=2, columns=2)
    assert_array_equal(mask_for("block", weights, unit=unit, sparsity=0.5), bits("..##", "..##"))
    spiky = matrix("6 0 3 3", "0 0 3 1")
    assert_array_equal(mask_for("block", spiky, unit=unit, sparsity=0.5), bits("##..", "##.."))
    assert_array_equal(mask_for("block", spiky, unit=unit, sparsity=0.5, criterion="l1"), bits("..##", "..##"))


def test_wavefront_removes_columns_of_its_rows() -> None:
    weights = matrix("9 0 1", "0 0 1", "0 3 0", "0 3 0", "0 1 5")
    mask = mask_for("wavefront", weights, unit=Unit(rows=2), sparsity=0.66)
    assert_array_equal(mask, bits("#..", "#..", ".#.", ".#.", "..#"))


@pytest.mark.parametrize(
    ("method", "tile", "unit"),
    [
        ("filter", "8x1", "1x27"),
        ("block", "8x1", "8x8"),
        ("block", "32x1", "32x27"),
        ("block", "4x6", "4x6"),
        ("wavefront", "8x1", "8x1"),
        ("workgroup", "32x1", "32x1"),
        ("bcbp", "8x1", "8x1"),
        ("balanced", "8x1", "1x32"),
        ("balanced", "8x16", "8x16"),
        ("mixed", "8x1", "8x16"),
        ("mixed", "4x8", "4x8"),
        ("unstructured", "8x1", "1x1"),
    ],
)
def test_units_that_follow_from_the_tile(method: str, tile: str, unit: str) -> None:
    request = UnitRequest(tile=Unit.parse(tile), rows=64, columns=27, sparsity=0.75)
    assert str(get_method(method).unit_for(request)) == unit


@pytest.mark.parametrize(
    ("sparsity", "unit"), [(0.5, "1x4"), (0.75, "1x4"), (0.875, "1x8"), (0.9375, "1x16"), (0.9, "1x32"), (0.0, "1x4")]
)
def test_the_shortest_pattern_of_the_nearest_density(sparsity: float, unit: str) -> None:
    request = UnitRequest(tile=TILE, rows=64, columns=576, sparsity=sparsity)
    assert str(get_method("nm").unit_for(request)) == unit


def test_which_rows_of_the_kernel_make_the_unit() -> None:
    rows = {name: get_method(name).tile_rows for name in ("wavefront", "workgroup", "bcbp", "block", "mixed")}
    assert rows == {
        "wavefront": "wavefront", "workgroup": "workgroup", "bcbp": "wavefront", "block": "wavefront",
        "mixed": "wavefront",
    }  # fmt: skip
    assert [name for name in rows | {"filter": ""} if get_method(name).removes_channels] == ["filter"]
