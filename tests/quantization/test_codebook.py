"""k-means codebooks: reconstruction, exact zeros, few values, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.errors import UsageError
from clprune.quantization.codebook import codebook_coding


def reference_error(values: np.ndarray, codebook: np.ndarray) -> float:
    """The squared error when every value takes its nearest entry."""
    return float((np.abs(values[:, None] - codebook[None]).min(axis=1) ** 2).sum())


@pytest.mark.parametrize("bits", [4, 8])
def test_few_values_are_kept_exactly(bits: int) -> None:
    weights = np.array([[0.0, -2.5, 1.0], [1.0, 3.0, -2.5]], np.float32)
    coding = codebook_coding(weights, name="layer 1", bits=bits)
    assert coding.bits == bits
    assert coding.codebook[:4].tolist() == [0, -2.5, 1, 3]
    assert not coding.codebook[4:].any()
    assert coding.codes.tolist() == [[0, 1, 2], [2, 3, 1]]
    assert np.array_equal(coding.decode(), weights)


def test_clusters_by_hand() -> None:
    groups = [center + np.array([-0.001, 0, 0.001]) for center in range(1, 16)]
    weights = np.concatenate([*groups, [0.0]]).astype(np.float32).reshape(2, 23)
    coding = codebook_coding(weights, name="layer 1", bits=4)
    np.testing.assert_allclose(coding.codebook, np.arange(16), atol=1e-6)
    assert np.array_equal(coding.codes, np.rint(weights))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kept", [1.0, 0.1])
def test_every_weight_takes_its_nearest_entry(bits: int, kept: float) -> None:
    weights = np.random.default_rng(0).standard_normal((67, 31, 3, 3)).astype(np.float32)
    weights[np.abs(weights) < np.quantile(np.abs(weights), 1 - kept)] = 0
    coding = codebook_coding(weights, name="layer 1", bits=bits)
    decoded = coding.decode()
    assert np.array_equal(decoded == 0, weights == 0)
    rest = weights[weights != 0]
    entries = coding.codebook[coding.codebook != 0]
    assert len(entries) >= (1 << bits) - 1  # no entry is wasted, also not in the gap around zero
    assert ((decoded - weights) ** 2).sum() == pytest.approx(reference_error(rest, entries), rel=1e-3)
    # near the optimum for a normal distribution: 0.00950 at 16 levels (Max 1960), 2.72 / n^2 at many
    if kept == 1.0:
        optimum = 0.00950 if bits == 4 else 2.72 / 256**2
        assert ((decoded - weights) ** 2).mean() <= 1.25 * optimum


def test_centroids_are_means() -> None:
    weights = np.random.default_rng(3).standard_normal((9, 41)).astype(np.float32)
    coding = codebook_coding(weights, name="layer 1", bits=4)
    for code in range(16):
        members = weights[coding.codes == code]
        assert coding.codebook[code] == pytest.approx(members.mean(), abs=1e-6)


def test_same_weights_same_codes() -> None:
    weights = np.random.default_rng(4).standard_normal((64, 64)).astype(np.float32)
    first, second = (codebook_coding(weights, name="layer 1", bits=4) for _ in range(2))
    assert np.array_equal(first.codes, second.codes)
    assert np.array_equal(first.codebook, second.codebook)


def test_all_zero_one_value_and_extremes() -> None:
    assert not codebook_coding(np.zeros((3, 5), np.float32), name="layer 1", bits=4).decode().any()
    for weights in ([[0.25, 0.25]], [[0.0, -1e-30]], [[3e38, -3e38, 1e36, 0.0]]):
        array = np.array(weights, np.float32)
        assert np.array_equal(codebook_coding(array, name="layer 1", bits=4).decode(), array)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="5 bits for a codebook: expected 4 or 8"):
        codebook_coding(np.ones((1, 1), np.float32), name="layer 1", bits=5)
    with pytest.raises(UsageError, match="layer 7: weight 1 is nan"):
        codebook_coding(np.array([[0, np.nan]], np.float32), name="layer 7", bits=4)
