"""Masks against masks written by hand: two unequal sides, non-square matrices, partial blocks, groups."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.errors import UsageError
from clprune.pruning.registry import list_methods
from clprune.unit import Unit
from tests.pruning.drawn import bits, mask_for


def test_column_units_on_a_non_square_matrix() -> None:
    weights = np.array(
        [
            [9, 0, 1, 0, 2],
            [0, 0, 1, 8, 2],
            [0, 3, 0, 1, 0],
            [0, 3, 0, 1, 7],
        ],
        np.float32,
    )
    # means of the 2x1 units: 4.5 0 1 4 2 over 0 3 0 1 3.5; the best five of ten stay
    mask = mask_for("workgroup", weights, unit=Unit(rows=2), sparsity=0.5)
    assert_array_equal(mask, bits("#..##", "#..##", ".#..#", ".#..#"))


def test_units_with_two_unequal_sides_and_partial_blocks_on_both_edges() -> None:
    weights = np.array(
        [
            [1, 1, 1, 5, 5, 5, 0],
            [1, 1, 1, 5, 5, 5, 0],
            [2, 2, 2, 0, 0, 0, 6],
        ],
        np.float32,
    )
    # units of 2x3: means 1 5 0 over (one row) 2 0 6; the one-weight corner is the most important of all
    mask = mask_for("workgroup", weights, unit=Unit(rows=2, columns=3), sparsity=0.5)
    assert_array_equal(mask, bits("...###.", "...###.", "###...#"))


def test_criteria_choose_differently() -> None:
    weights = np.array([[4, 3], [0, 3]], np.float32)  # mean magnitude 2 and 3, root mean square 2.83 and 3
    spiky = np.array([[5, 3], [0, 3]], np.float32)  # 2.5 and 3, 3.54 and 3
    unit = Unit(rows=2)
    assert_array_equal(mask_for("workgroup", weights, unit=unit, sparsity=0.5, criterion="l2"), bits(".#", ".#"))
    assert_array_equal(mask_for("workgroup", spiky, unit=unit, sparsity=0.5, criterion="l1"), bits(".#", ".#"))
    assert_array_equal(mask_for("workgroup", spiky, unit=unit, sparsity=0.5, criterion="l2"), bits("#.", "#."))


def test_row_blocks_begin_anew_in_each_group() -> None:
    # two groups of three rows, units of two rows: blocks are rows 0-1, 2, 3-4, 5
    weights = np.array([[1], [1], [9], [9], [9], [2]], np.float32)
    mask = mask_for("workgroup", weights, unit=Unit(rows=2), sparsity=0.5, group_rows=3)
    assert_array_equal(mask, bits(".", ".", "#", "#", "#", "."))
    straddling = mask_for("workgroup", weights, unit=Unit(rows=2), sparsity=0.3)
    assert_array_equal(straddling, bits(".", ".", "#", "#", "#", "#"))


def test_ties_are_broken_by_index() -> None:
    mask = mask_for("workgroup", np.ones((2, 6), np.float32), unit=Unit(rows=2), sparsity=0.5)
    assert_array_equal(mask, bits("###...", "###..."))


@pytest.mark.parametrize(
    ("rows", "columns", "unit", "sparsity", "kept"),
    [
        (16, 27, "8x1", 0.75, 14),  # 54 units: 40.5 rounds to the even 40
        (13, 7, "5x2", 0.5, 6),
        (31, 33, "8x1", 0.9, 13),
        (3, 1, "8x1", 0.9, 1),  # a layer never loses its last unit
        (8, 10, "8x1", 0.0, 10),
        (1, 1, "1x1", 0.999, 1),
    ],
)
def test_exactly_as_many_units_stay_as_asked(rows: int, columns: int, unit: str, sparsity: float, kept: int) -> None:
    shape = Unit.parse(unit)
    weights = np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32)
    mask = mask_for("workgroup", weights, unit=shape, sparsity=sparsity)
    corners = mask[:: shape.rows, :: shape.columns]
    assert corners.sum() == kept
    assert_array_equal(mask, np.kron(corners, np.ones((shape.rows, shape.columns), bool))[:rows, :columns])


def test_unstructured_keeps_the_largest_weights_whatever_the_unit() -> None:
    weights = np.array([[1, -9, 2], [-8, 3, 0]], np.float32)
    mask = mask_for("unstructured", weights, unit=Unit(rows=8), sparsity=0.5)
    assert_array_equal(mask, bits(".#.", "##."))


def test_masks_do_not_touch_the_weights_and_are_reproducible() -> None:
    weights = np.random.default_rng(0).standard_normal((17, 23)).astype(np.float32)
    before = weights.copy()
    for method in list_methods():
        first = mask_for(method, weights, unit=Unit(rows=4), sparsity=0.6)
        assert_array_equal(first, mask_for(method, weights, unit=Unit(rows=4), sparsity=0.6))
        assert first.dtype == np.bool_ and first.shape == weights.shape
    assert_array_equal(weights, before)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("method", list_methods())
def test_a_sparsity_outside_the_range_is_refused(method: str, sparsity: float) -> None:
    with pytest.raises(UsageError, match="sparsity"):
        mask_for(method, np.ones((2, 2), np.float32), unit=Unit(rows=1), sparsity=sparsity)


def test_unknown_names_say_what_is_known() -> None:
    ones = np.ones((2, 2), np.float32)
    with pytest.raises(UsageError, match=r"'magic'.*bcbp.*unstructured, wavefront, workgroup"):
        mask_for("magic", ones, unit=Unit(rows=1), sparsity=0.5)
    with pytest.raises(UsageError, match=r"'l3'.*l1, l2"):
        mask_for("workgroup", ones, unit=Unit(rows=1), sparsity=0.5, criterion="l3")


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="NaN"):
        mask_for("workgroup", np.array([[1, np.nan]], np.float32), unit=Unit(rows=1), sparsity=0.5)


def test_rows_that_the_groups_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="groups of 4"):
        mask_for("workgroup", np.ones((6, 2), np.float32), unit=Unit(rows=2), sparsity=0.5, group_rows=4)
