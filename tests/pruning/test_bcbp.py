"""The three steps of `bcbp`, each by itself and together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.errors import UsageError
from clprune.pruning import MaskRequest
from clprune.pruning.imbalance import imbalance, kept_columns
from clprune.pruning.methods.bcbp import BcbpOptions, balance_columns, prune_by_threshold, recalibrate, reselect
from clprune.unit import Unit
from tests.pruning.drawn import bits, mask_for, matrix

#: Four tiles of two rows (the last of one): two rich ones, two poor ones.
WEIGHTS = matrix(
    "9 8 7 6 1",
    "9 8 7 6 1",
    "5 9 9 9 0",
    "5 9 9 9 0",
    "3 0 1 2 4",
    "3 0 1 2 4",
    "0 1 2 0 3",
)
REQUEST = MaskRequest(unit=Unit(rows=2), sparsity=0.5, options=BcbpOptions())
SCORES = matrix("9 8 7 6 1", "5 9 9 9 0", "3 0 1 2 4", "0 1 2 0 3").astype(np.float64)


def test_step_1_is_one_threshold_for_the_layer() -> None:
    kept, threshold = prune_by_threshold(SCORES, sparsity=0.5)
    assert_array_equal(kept, bits("####.", "####.", "#...#", "....."))  # of the two 3s the first
    assert threshold == 3


def test_step_2_is_the_mean_of_the_tiles_that_run_together() -> None:
    kept = bits("####.", "####.", "#...#", ".....")
    assert_array_equal(recalibrate(kept), [3, 3, 3, 3])  # two and a half, rounded up
    assert_array_equal(recalibrate(kept, parallel_tiles=2), [4, 4, 1, 1])
    assert_array_equal(recalibrate(kept, parallel_tiles=3), [3, 3, 3, 1])  # ten thirds; a tile never loses all
    assert_array_equal(recalibrate(kept, parallel_tiles=1), [4, 4, 2, 1])
    with pytest.raises(UsageError, match="0 tiles"):
        recalibrate(kept, parallel_tiles=0)


def test_step_3_takes_the_best_columns_of_each_tile() -> None:
    kept = reselect(SCORES, np.array([3, 1, 2, 2]))
    assert_array_equal(kept, bits("###..", ".#...", "#...#", "..#.#"))


def test_all_steps_report_what_they_did() -> None:
    result = balance_columns(WEIGHTS, replace(REQUEST, options=BcbpOptions(parallel_tiles=2)))
    assert_array_equal(result.mask, bits("####.", "####.", "####.", "####.", "....#", "....#", "....#"))
    assert_array_equal(result.kept_before, [4, 4, 2, 0])
    assert_array_equal(result.kept_after, [4, 4, 1, 1])
    assert result.threshold == 3
    assert result.imbalance_before == pytest.approx((4 + 2) / (4 + 1))
    assert result.imbalance_after == 1
    whole = balance_columns(WEIGHTS, REQUEST)
    assert_array_equal(whole.kept_after, [3, 3, 3, 3])
    assert whole.imbalance_before == pytest.approx(4 / 2.5)
    assert_array_equal(whole.mask, mask_for("bcbp", WEIGHTS, unit=Unit(rows=2), sparsity=0.5))


def test_tiles_end_with_their_group() -> None:
    weights = matrix("9 9 0", "1 2 0", "0 0 5", "7 0 0", "0 0 6", "0 1 2")
    result = balance_columns(weights, replace(REQUEST, group_rows=3))
    # tiles: rows 0-1, 2, 3-4, 5
    assert_array_equal(result.kept_after, [2, 2, 2, 2])
    assert_array_equal(result.mask, bits("##.", "##.", "#.#", "#.#", "#.#", ".##"))


def test_units_of_several_columns_count_their_columns() -> None:
    weights = matrix("1 1 5 5 2", "3 3 0 0 9")
    result = balance_columns(weights, replace(REQUEST, unit=Unit(rows=1, columns=2)))
    assert_array_equal(result.kept_before, [2, 3])
    # means 1 5 2 and 3 0 9: three of six units stay, two per tile after halves are rounded up
    assert_array_equal(result.mask, bits("..###", "##..#"))


def test_kept_columns_of_a_row_block() -> None:
    mask = bits("#..#.", "...#.", ".....", "##...", "....#")
    assert_array_equal(kept_columns(mask, unit_rows=2), [2, 2, 1])
    assert_array_equal(kept_columns(mask[:4], unit_rows=3, group_rows=2), [2, 2])
    assert_array_equal(kept_columns(mask, unit_rows=8), [4])


def test_imbalance_is_the_time_over_that_of_evenly_spread_work() -> None:
    counts = np.array([4, 2, 3, 1])
    assert imbalance(counts) == pytest.approx(4 / 2.5)
    assert imbalance(counts, parallel_tiles=2) == pytest.approx((4 + 3) / (3 + 2))
    assert imbalance(counts, parallel_tiles=3) == pytest.approx((4 + 1) / (3 + 1))
    assert imbalance(counts, parallel_tiles=1) == 1
    assert imbalance(np.array([0, 0])) == 1
