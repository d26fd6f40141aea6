"""`balanced` and `nm`: the same number in every segment, against masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.pruning import segments
from clprune.unit import Unit
from tests.pruning.drawn import bits, mask_for, matrix


def test_balanced_keeps_the_same_number_in_each_segment() -> None:
    weights = matrix(
        "9 8 7 6  1 2 3 4",
        "0 0 0 0  5 5 5 5",
        "-4 1 4 0  0 0 0 1",
    )
    mask = mask_for("balanced", weights, unit=Unit(rows=1, columns=4), sparsity=0.5)
    assert_array_equal(mask, bits("##....##", "##..##..", "#.#.#..#"))


def test_balanced_keeps_its_share_of_a_shorter_last_segment() -> None:
    weights = matrix("1 2 3 4 9 8 7", "4 3 2 1 0 0 1")
    half = mask_for("balanced", weights, unit=Unit(rows=1, columns=4), sparsity=0.5)
    assert_array_equal(half, bits("..###..", "##....#"))  # three weights: one and a half go, rounded to the even two
    most = mask_for("balanced", weights, unit=Unit(rows=1, columns=4), sparsity=0.9)
    assert_array_equal(most, bits("...##..", "#.....#"))  # never nothing


def test_balanced_rows_may_share_one_choice() -> None:
    weights = matrix("1 0 0 5", "1 0 0 5", "0 2 0 0", "0 0 1 0", "7 0 0 0")
    mask = mask_for("balanced", weights, unit=Unit(rows=2, columns=2), sparsity=0.5, group_rows=5)
    assert_array_equal(mask, bits("#..#", "#..#", ".##.", ".##.", "#.#."))


def test_row_blocks_of_segments_begin_anew_in_each_group() -> None:
    weights = matrix("1 0", "0 1", "0 9", "1 0", "9 1", "0 4")
    mask = mask_for("balanced", weights, unit=Unit(rows=2, columns=2), sparsity=0.5, group_rows=3)
    assert_array_equal(mask, bits("#.", "#.", ".#", "#.", "#.", ".#"))


def test_two_of_four() -> None:
    weights = matrix("1 -7 3 2 0 0 0 0", "4 4 4 4 1 2 3 -4")
    mask = mask_for("nm", weights, unit=Unit(rows=1, columns=4), sparsity=0.5)
    assert_array_equal(mask, bits(".##.##..", "##....##"))


def test_a_short_last_segment_is_filled_with_zeros() -> None:
    weights = matrix("1 2 3 4 1 1 5", "0 0 0 1 2 1 0")
    assert_array_equal(mask_for("nm", weights, unit=Unit(rows=1, columns=4), sparsity=0.5), bits("..###.#", "#..###."))
    one_left = weights[:, :5]
    assert_array_equal(mask_for("nm", one_left, unit=Unit(rows=1, columns=4), sparsity=0.5), bits("..###", "#..##"))


def test_a_segment_longer_than_the_row() -> None:
    weights = matrix("3 1 2")
    assert_array_equal(mask_for("balanced", weights, unit=Unit(rows=1, columns=32), sparsity=0.34), bits("#.#"))
    # 16 of 32 would stay; this row has only three
    assert_array_equal(mask_for("nm", weights, unit=Unit(rows=1, columns=32), sparsity=0.5), bits("###"))


@pytest.mark.parametrize("method", ["balanced", "nm"])
def test_working_in_pieces_changes_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(0).standard_normal((13, 37)).astype(np.float32)
    unit = Unit(rows=2, columns=8)
    whole = mask_for(method, weights, unit=unit, sparsity=0.6, criterion="l2")
    monkeypatch.setattr(segments, "CHUNK_WEIGHTS", 100)
    assert_array_equal(mask_for(method, weights, unit=unit, sparsity=0.6, criterion="l2"), whole)
    assert whole[:, :32].reshape(13, 4, 8).sum(axis=2).tolist() == [[3] * 4] * 13
