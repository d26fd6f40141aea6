"""Folding batch normalization: the folded layer computes what the two steps compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.kinds.base import Layer
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import LayerWeights, convolution_matrix
from clprune.errors import UsageError


def first(folder: Path, layers: str) -> tuple[Layer, LayerWeights]:
    path = folder / "a.cfg"
    path.write_text("[net]\nheight=3\nwidth=5\nchannels=4\n" + layers)
    network = load_network(path)
    weights = random_weights(network, seed=3).layers[0]
    assert weights is not None
    return network.layers[0], weights


def f32(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, dtype=np.float32)


def test_by_hand(tmp_path: Path) -> None:
    layer, _ = first(tmp_path, "[connected]\noutput=2\nbatch_normalize=1\n")
    weights = LayerWeights(
        weights=np.ones((2, 60), dtype=np.float32),
        biases=f32(1, 2),
        scales=f32(4, 3),
        mean=f32(10, 20),
        variance=f32(4 - 1e-5, 9 - 1e-5),
    )
    folded = fold_batch_norm(layer, weights)
    np.testing.assert_allclose(folded.weights[:, 0], [2, 1], rtol=1e-6)
    np.testing.assert_allclose(folded.biases, [-19, -18], rtol=1e-6)
    assert (folded.scales, folded.mean, folded.variance) == (None, None, None)


@pytest.mark.parametrize(
    "layers",
    [
        "[convolutional]\nfilters=6\nsize=3\ngroups=2\nbatch_normalize=1\n",
        "[connected]\noutput=7\nbatch_normalize=1\n",
    ],
)
def test_equals_the_two_steps(tmp_path: Path, layers: str) -> None:
    layer, weights = first(tmp_path, layers)
    assert weights.scales is not None and weights.mean is not None and weights.variance is not None
    matrix = convolution_matrix(weights).astype(np.float64)
    x = np.random.default_rng(1).standard_normal((matrix.shape[1], 5))
    normalized = (matrix @ x - weights.mean[:, None]) / np.sqrt(weights.variance.astype(np.float64) + 1e-5)[:, None]
    expected = normalized * weights.scales[:, None] + weights.biases[:, None]
    folded = fold_batch_norm(layer, weights)
    assert folded.weights.shape == weights.weights.shape
    assert folded.weights.dtype == folded.biases.dtype == np.float32
    actual = convolution_matrix(folded).astype(np.float64) @ x + folded.biases[:, None]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_batchnorm_layer_becomes_factors(tmp_path: Path) -> None:
    layer, weights = first(tmp_path, "[batchnorm]\n")
    assert weights.scales is not None and weights.mean is not None and weights.variance is not None
    folded = fold_batch_norm(layer, weights)
    x = np.random.default_rng(1).standard_normal((4, 6))
    normalized = (x - weights.mean[:, None]) / np.sqrt(weights.variance[:, None] + 1e-5)
    expected = normalized * weights.scales[:, None] + weights.biases[:, None]
    assert folded.weights.shape == (4,)
    np.testing.assert_allclose(folded.weights[:, None] * x + folded.biases[:, None], expected, rtol=1e-5, atol=1e-6)


def test_without_batch_norm_the_arrays_are_the_same(tmp_path: Path) -> None:
    layer, weights = first(tmp_path, "[convolutional]\nfilters=2\n")
    folded = fold_batch_norm(layer, weights)
    assert folded.weights is weights.weights
    assert folded.biases is weights.biases


def test_zero_variance_is_finite_and_zeros_stay_zeros(tmp_path: Path) -> None:
    layer, weights = first(tmp_path, "[convolutional]\nfilters=2\nbatch_normalize=1\n")
    pruned = np.zeros_like(weights.weights)
    zero = LayerWeights(
        weights=pruned, biases=weights.biases, scales=weights.scales, mean=weights.mean, variance=f32(0, 0)
    )
    folded = fold_batch_norm(layer, zero)
    assert np.isfinite(folded.biases).all()
    assert not folded.weights.any()


def test_missing_statistics(tmp_path: Path) -> None:
    layer, weights = first(tmp_path, "[convolutional]\nfilters=2\nbatch_normalize=1\n")
    with pytest.raises(UsageError, match=r"layer 0 \[convolutional\].*scales, mean and variance"):
        fold_batch_norm(layer, LayerWeights(weights=weights.weights, biases=weights.biases))


def test_convolution_matrix_is_a_view(tmp_path: Path) -> None:
    _, weights = first(tmp_path, "[convolutional]\nfilters=6\nsize=3\ngroups=2\n")
    matrix = convolution_matrix(weights)
    assert matrix.shape == (6, 18)
    assert np.shares_memory(matrix, weights.weights)


@pytest.mark.parametrize("layers", ["[connected]\noutput=2\nbatch_normalize=1\n", "[batchnorm]\n"])
@pytest.mark.parametrize("name", ["scales", "mean"])
@pytest.mark.filterwarnings("error")
def test_what_float32_does_not_hold_is_refused(tmp_path: Path, layers: str, name: str) -> None:
    layer, weights = first(tmp_path, layers)
    values = getattr(weights, name) * np.float32(3e37)
    tiny = np.zeros_like(values)
    with pytest.raises(UsageError, match="folded, its batch normalization is no float32"):
        fold_batch_norm(layer, replace(weights, **{name: values}, variance=tiny))
