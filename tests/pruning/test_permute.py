"""Orders of rows in which like patterns share a block, and networks that are permuted for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.values import convolution_matrix
from clprune.pruning.permute import permute_network, retained_share, row_order
from clprune.unit import Unit
from tests.pruning.drawn import mask_for
from tests.pruning.networks import BRANCHES, CHAIN, images, load
from tests.random_networks import answers


def planted(*, rows: int, columns: int, patterns: int, seed: int = 0) -> np.ndarray:
    """Rows of several patterns of a quarter of the columns, in a random order, over weak noise."""
    random = np.random.default_rng(seed)
    of_row = random.permutation(np.arange(rows) % patterns)
    strong = np.array([random.permutation(columns) < columns // 4 for _ in range(patterns)])[of_row]
    return (np.where(strong, 1.0, 0.05) * random.standard_normal((rows, columns))).astype(np.float32)


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_rows_of_one_pattern_meet_in_one_block(criterion: str) -> None:
    weights = planted(rows=32, columns=64, patterns=4)
    options = {"unit": Unit(rows=8), "sparsity": 0.75, "criterion": criterion}
    order = row_order(weights, **options)  # type: ignore[arg-type]
    assert_array_equal(np.sort(order), np.arange(32))
    before = retained_share(weights, **options)  # type: ignore[arg-type]
    after = retained_share(weights[order], **options)  # type: ignore[arg-type]
    powers = np.abs(weights) ** (1 if criterion == "l1" else 2)
    single = powers[np.abs(weights) > np.quantile(np.abs(weights), 0.75)].sum() / powers.sum()  # no unit retains more
    assert before < 0.75
    assert after > 0.95 * single


def test_two_interleaved_patterns_by_hand() -> None:
    weights = np.array([[9, 0, 0, 9], [0, 5, 5, 0]] * 3, np.float32)
    assert row_order(weights, unit=Unit(rows=3), sparsity=0.5).tolist() == [0, 2, 4, 1, 3, 5]
    # seven rows in blocks of three: the block that is not full comes last
    odd = np.concatenate([weights, [[1, 0, 0, 0]]]).astype(np.float32)
    order = row_order(odd, unit=Unit(rows=3), sparsity=0.5)
    assert order[:6].tolist() == [0, 2, 4, 1, 3, 5]
    assert order[6] == 6


@pytest.mark.parametrize(
    ("rows", "columns", "unit", "sparsity"),
    [(31, 33, "8x1", 0.8), (17, 40, "4x1", 0.5), (36, 50, "8x3", 0.9), (8, 5, "8x1", 0.5), (1, 3, "2x1", 0.5),
     (16, 16, "4x1", 0.0)],
)  # fmt: skip
def test_never_worse_always_a_permutation_and_reproducible(rows: int, columns: int, unit: str, sparsity: float) -> None:
    weights = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)
    shape = Unit.parse(unit)
    order = row_order(weights, unit=shape, sparsity=sparsity)
    assert_array_equal(np.sort(order), np.arange(rows))
    assert_array_equal(order, row_order(weights, unit=shape, sparsity=sparsity))
    given, found = (retained_share(w, unit=shape, sparsity=sparsity) for w in (weights, weights[order]))
    assert found >= given
    if 1 < shape.rows < rows and sparsity:
        assert found > given


def test_the_retained_share_is_that_of_the_mask() -> None:
    weights = np.random.default_rng(2).standard_normal((13, 21)).astype(np.float32)
    mask = mask_for("workgroup", weights, unit=Unit(rows=4, columns=2), sparsity=0.7, criterion="l2")
    squares = weights.astype(np.float64) ** 2
    share = retained_share(weights, unit=Unit(rows=4, columns=2), sparsity=0.7, criterion="l2")
    # keeping by mean and by sum differ only in partial units; both come from one threshold over the same units
    assert share == pytest.approx(float(squares[mask].sum() / squares.sum()), rel=0.02)


def plan_of(*indices: int, rows: int = 4) -> dict[int, PruneOptions]:
    return {index: PruneOptions(method="workgroup", unit=Unit(rows=rows), sparsity=0.6) for index in indices}


def test_a_permuted_network_computes_the_same_and_retains_more(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    result = permute_network(network, weights, plan_of(0, 2, 6, 8, 9, 10))
    assert set(result.orders) == {0, 2, 6, 8, 9}
    assert result.left == {10: "they reach layer 11 [softmax]"}
    x = images(network)
    assert_allclose(answers(network, result.weights, x), answers(network, weights, x), rtol=1e-12)
    for index, order in result.orders.items():
        before, after = weights.layers[index], result.weights.layers[index]
        assert before is not None and after is not None
        assert_array_equal(after.biases, before.biases[order])
        low, high = result.retained[index]
        assert high > low
        found = retained_share(convolution_matrix(after), unit=Unit(rows=4), sparsity=0.6)
        assert found == pytest.approx(high)


def test_layers_that_must_stay_are_left_and_named(tmp_path: Path) -> None:
    network, weights = load(tmp_path, BRANCHES)
    result = permute_network(network, weights, plan_of(1, 2, 4, 5, 7, 8, 9))
    assert {1, 5} <= set(result.orders)
    assert set(result.left) >= {2, 7, 8, 9}
    assert result.left[2] == "they are tied to those of layer 0"
    x = images(network)
    assert_allclose(answers(network, result.weights, x), answers(network, weights, x), rtol=1e-12)


def test_units_of_one_row_need_no_order(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    result = permute_network(network, weights, plan_of(2, rows=1))
    assert result.weights is weights
    assert result.left == {2: "its unit has one row, for which the order does not matter"}
