"""Growth of rounding errors against hand-computed sums and against float32 Winograd."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.winograd.error import amplification, expected_error
from clprune.winograd.transforms import transform_filters, transform_matrices, winograd_convolution


def test_amplification_by_hand() -> None:
    """F(2, 3), first output: 1 * 2 + 3/4 * 2 + 3/4 * 2 = 5, over 3 taps."""
    assert amplification(2) == pytest.approx(5 / 3)
    assert 30 < amplification(4) < 33


@pytest.mark.parametrize("m", [2, 4])
def test_expected_error_is_the_right_size(m: int) -> None:
    """float32 transforms and products of 64 channels stay near what is expected, and rather below."""
    generator = np.random.default_rng(2)
    x = generator.standard_normal((1, 64, 24, 24)).astype(np.float32)
    weights = (generator.standard_normal((16, 64, 3, 3)) / 24).astype(np.float32)
    u = transform_filters(weights, m)
    exact = winograd_convolution(x, u, output_tile=m, padding=1)
    t = transform_matrices(m)
    bt, at = t.input_array.astype(np.float32), t.output_array.astype(np.float32)
    alpha = m + 2
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (alpha, alpha), axis=(2, 3))[0, :, ::m, ::m]
    v = np.einsum("ia,cyxab,jb->ijcyx", bt, windows, bt, dtype=np.float32)
    products = np.einsum("ijoc,ijcyx->ijoyx", u.astype(np.float32), v, dtype=np.float32)
    y = np.einsum("ia,aboyx,jb->oyixj", at, products, at, dtype=np.float32).reshape(16, 24, 24)
    error = np.abs(y - exact[0]).max() / np.abs(exact).max()
    assert expected_error(m, 64) / 8 < error < expected_error(m, 64) * 2


def test_more_channels_more_error() -> None:
    assert expected_error(4, 512) > expected_error(4, 64) > expected_error(2, 64)
    assert expected_error(4, 512) < 1e-4
