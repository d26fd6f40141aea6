"""`mixed`: vector mask AND block mask, and the search for their split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.errors import UsageError
from clprune.pruning import MaskRequest
from clprune.pruning.methods.mixed import MixedOptions, best_split, block_mask, search_splits, vector_mask
from clprune.unit import Unit
from tests.pruning.drawn import bits, mask_for, matrix

#: Blocks of 2x4; the last column block is two wide, the last row block one high.
WEIGHTS = matrix(
    "1 2 3 4  0 0 0 9  1 1",
    "4 3 2 1  0 9 0 0  1 1",
    "0 0 0 1  5 6 7 8  0 3",
    "1 0 0 0  8 7 6 5  3 0",
    "2 2 2 2  0 1 0 0  9 8",
)
REQUEST = MaskRequest(unit=Unit(rows=2, columns=4), sparsity=0.6, options=MixedOptions())


def test_the_vector_mask_keeps_the_same_number_in_each_row_of_a_block() -> None:
    mask = vector_mask(WEIGHTS, REQUEST, kept=2)
    assert_array_equal(mask, bits("..###..##.", "##..##..#.", "#..#..##.#", "##..##..#.", "##..##..#."))


def test_the_block_mask_keeps_the_best_blocks() -> None:
    # means: 2.5 2.25 1; 0.25 6.5 1.5; 2 0.25 8.5
    mask = block_mask(WEIGHTS, REQUEST, kept=4)
    assert_array_equal(mask, bits("########..", "########..", "....####..", "....####..", "........##"))


def test_a_fixed_split_is_the_and_of_both() -> None:
    mask = mask_for(
        "mixed", WEIGHTS, unit=Unit(rows=2, columns=4), sparsity=0.75, options=MixedOptions(vector_kept_share=0.5)
    )
    # half of each vector, so half of the nine blocks (four and a half, rounded to the even four) give a quarter
    assert_array_equal(mask, bits("..###..#..", "##..##....", "......##..", "....##....", "........#."))


def test_splits_reach_the_density_and_leave_work_for_both_masks() -> None:
    weights = np.random.default_rng(5).standard_normal((24, 64)).astype(np.float32)
    request = replace(REQUEST, unit=Unit(rows=4, columns=16), sparsity=0.75)
    splits = search_splits(weights, request)
    assert [split.vector_kept for split in splits] == list(range(5, 16))
    for split in splits:
        both = vector_mask(weights, request, kept=split.vector_kept) & block_mask(
            weights, request, kept=split.block_kept
        )
        assert 0 < split.block_kept < 24
        assert both.mean() == pytest.approx(0.25, abs=0.02)
        retained = float(np.abs(weights)[both].sum() / np.abs(weights).sum())
        assert split.retained_share == pytest.approx(retained)


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_the_search_finds_what_the_weights_are_made_of(criterion: str) -> None:
    random = np.random.default_rng(1)
    fine = random.permuted(np.tile([9.0, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], (32, 8)), axis=1)
    coarse = np.kron(random.permutation(64).reshape(8, 8) < 18, np.ones((4, 16)))
    request = replace(REQUEST, unit=Unit(rows=4, columns=16), sparsity=0.75, criterion=criterion)
    noise = 0.01 * random.random((32, 128))
    assert best_split(search_splits((coarse + noise).astype(np.float32), request)).vector_kept == 15
    assert best_split(search_splits((fine + noise).astype(np.float32), request)).vector_kept <= 7


def test_partial_vectors_retain_what_the_search_says() -> None:
    for criterion, power in (("l1", 1), ("l2", 2)):
        request = replace(REQUEST, criterion=criterion, sparsity=0.6)
        values = np.abs(WEIGHTS.astype(np.float64)) ** power
        for split in search_splits(WEIGHTS, request):
            both = vector_mask(WEIGHTS, request, kept=split.vector_kept) & block_mask(
                WEIGHTS, request, kept=split.block_kept
            )
            assert split.retained_share == pytest.approx(float(values[both].sum() / values.sum()))


def test_no_split_leaves_it_to_the_blocks() -> None:
    (dense,) = search_splits(WEIGHTS, replace(REQUEST, sparsity=0.0))
    assert (dense.vector_kept, dense.block_kept, dense.retained_share) == (4, 9, 1.0)
    assert mask_for("mixed", WEIGHTS, unit=Unit(rows=2, columns=4), sparsity=0.0).all()
    even = WEIGHTS[:4]
    columns = mask_for("mixed", even, unit=Unit(rows=2), sparsity=0.5)
    assert_array_equal(columns, mask_for("workgroup", even, unit=Unit(rows=2), sparsity=0.5))


def test_partial_blocks_count_by_their_weights() -> None:
    # blocks of 4x16 and slivers of 4x1: half of the blocks would be nearly all or nearly none of the weights
    weights = np.random.default_rng(0).standard_normal((10, 17)).astype(np.float32)
    mask = mask_for("mixed", weights, unit=Unit(rows=4, columns=16), sparsity=0.5)
    assert mask.mean() == pytest.approx(0.5, abs=0.1)


def test_blocks_wider_than_the_matrix() -> None:
    weights = matrix("3 1 2", "1 5 4")
    mask = mask_for("mixed", weights, unit=Unit(rows=1, columns=16), sparsity=0.5)
    assert mask.sum() >= 2
    assert mask[1, 1]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_outside_the_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="vector_kept_share"):
        mask_for(
            "mixed", WEIGHTS, unit=Unit(rows=2, columns=4), sparsity=0.5, options=MixedOptions(vector_kept_share=share)
        )


def test_a_share_below_the_density_is_raised_to_it() -> None:
    mask = mask_for(
        "mixed",
        WEIGHTS[:4, :8],
        unit=Unit(rows=2, columns=4),
        sparsity=0.5,
        options=MixedOptions(vector_kept_share=0.1),
    )
    assert mask.mean() == 0.5
