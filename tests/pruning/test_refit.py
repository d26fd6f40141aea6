"""What stays takes over from what goes: against least squares on drawn tiles, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.pruning.refit import refit
from clprune.pruning.winograd import NEIGHBOUR_CORRELATION, output_metric
from clprune.winograd.transforms import transform_filters, transform_matrices


def layer_of(tile: int, *, out: int, channels: int, seed: int = 0) -> LayerWeights:
    kernels = np.random.default_rng(seed).standard_normal((out, channels, 3, 3))
    u = transform_filters(kernels, tile).astype(np.float32)
    return LayerWeights(weights=u, biases=np.zeros(out, np.float32), winograd=tile)


def outputs(values: np.ndarray, tile: int, noise: np.ndarray) -> np.ndarray:
    """`[m * m * tiles, alpha^2]` @ values `[alpha^2]`: outputs are linear in U."""
    transforms = transform_matrices(tile)
    v = transforms.input_array @ noise @ transforms.input_array.T
    columns = []
    for place in range(transforms.matrices):
        chosen = np.zeros(transforms.matrices)
        chosen[place] = 1
        m = v * chosen.reshape(v.shape[1:])
        columns.append((transforms.output_array @ m @ transforms.output_array.T).reshape(-1))
    return np.stack(columns, axis=1) @ values


@pytest.mark.parametrize("tile", [2, 4])
def test_it_is_the_least_squares_fit(tile: int) -> None:
    values = layer_of(tile, out=3, channels=5)
    alpha = tile + 2
    mask = np.random.default_rng(1).random((alpha**2 * 3, 5)) < 0.4
    fitted = refit(values, mask)
    kept = mask.reshape(alpha**2, 3, 5)
    before, after = (each.weights.reshape(alpha**2, 3, 5).astype(np.float64) for each in (values, fitted))
    assert_array_equal(after[~kept], 0)
    metric = output_metric(tile)
    for filter_ in range(3):
        for channel in range(5):
            rest = after[:, filter_, channel] - before[:, filter_, channel]
            # at a minimum no kept value can be moved to advantage
            assert_allclose((metric @ rest)[kept[:, filter_, channel]], 0, atol=1e-3)


def test_the_metric_is_the_mean_square_of_outputs() -> None:
    places = np.arange(4)
    root = np.linalg.cholesky(NEIGHBOUR_CORRELATION ** np.abs(places[:, None] - places))
    noise = root @ np.random.default_rng(0).standard_normal((40_000, 4, 4)) @ root.T
    values = np.random.default_rng(1).standard_normal(16)
    found = (outputs(values, 2, noise) ** 2).sum() / len(noise)
    assert found == pytest.approx(values @ output_metric(2) @ values, rel=0.02)


def test_everything_or_nothing_kept() -> None:
    values = layer_of(2, out=2, channels=3)
    mask = np.ones((32, 3), bool)
    assert_allclose(refit(values, mask).weights, values.weights, rtol=1e-4, atol=1e-5)
    mask[:, 1] = False
    assert_array_equal(refit(values, mask).weights[..., 1], 0)
    assert_allclose(refit(values, mask).weights[..., 2], values.weights[..., 2], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_refitted_is_refused() -> None:
    spatial = LayerWeights(weights=np.ones((2, 3, 3, 3), np.float32), biases=np.zeros(2, np.float32))
    with pytest.raises(UsageError, match="spatial domain"):
        refit(spatial, np.ones((2, 27), bool))
    with pytest.raises(UsageError, match=r"expected \(32, 3\)"):
        refit(layer_of(2, out=2, channels=3), np.ones((2, 27), bool))
