"""Shares of layers by Erdos and Renyi's random graphs."""

from __future__ import annotations

import pytest

from clprune.pruning.allocation import erdos_renyi


def test_by_hand() -> None:
    # 10 x 10 and 20 x 30: a tenth of 700 weights is 70; factors 20 and 50 share them
    assert erdos_renyi([(10, 10), (20, 30)], sparsity=0.9) == pytest.approx((0.8, 1 - 50 / 600))


def test_small_layers_stay_whole() -> None:
    shares = erdos_renyi([(2, 2), (100, 100), (50, 200)], sparsity=0.5)
    assert shares[0] == 0
    kept = sum((1 - share) * size for share, size in zip(shares, (4, 10_000, 10_000), strict=True))
    assert kept == pytest.approx(0.5 * 20_004)


def test_nothing_removed() -> None:
    assert erdos_renyi([(3, 5), (7, 11)], sparsity=0.0) == pytest.approx((0.0, 0.0))
