"""Symmetric int8 codes: exact codes by hand, zero rows, saturation, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.errors import UsageError
from clprune.quantization.linear import linear_coding, quantize


def test_codes_by_hand() -> None:
    weights = np.array([[127.0, -127.0, 0.4, 1.5, 2.5], [0.5, -0.25, 0.0, 0.125, 0.5]], np.float32)
    coding = linear_coding(weights, name="layer 1")
    # 1.5 and 2.5 are ties, which go to the even code
    assert coding.codes.tolist() == [[127, -127, 0, 2, 2], [127, -64, 0, 32, 127]]
    assert coding.scales[0] == 1
    assert coding.scales[1] == np.float32(0.5) / np.float32(127)


def test_zero_rows_have_scale_one() -> None:
    coding = linear_coding(np.zeros((3, 2, 1, 1), np.float32), name="layer 1")
    assert coding.scales.tolist() == [1, 1, 1]
    assert not coding.codes.any()
    assert coding.decode().shape == (3, 2, 1, 1)


def test_half_a_step_is_the_largest_error() -> None:
    weights = np.random.default_rng(0).standard_normal((31, 7, 3, 3)).astype(np.float32)
    coding = linear_coding(weights, name="layer 1")
    steps = np.abs(coding.decode() - weights) / coding.scales[:, None, None, None]
    assert steps.max() <= 0.5 + 1e-4
    assert np.abs(coding.codes).max() == 127


def test_coding_decoded_weights_again_changes_nothing() -> None:
    weights = np.random.default_rng(1).standard_normal((33, 17)).astype(np.float32)
    first = linear_coding(weights, name="layer 1")
    again = linear_coding(first.decode(), name="layer 1")
    assert np.array_equal(first.codes, again.codes)


def test_weights_of_any_size() -> None:
    tiny, huge = 1e-45, 3.4e38
    coding = linear_coding(np.array([[tiny, -tiny], [huge, -huge]], np.float32), name="layer 1")
    assert np.isfinite(coding.decode()).all()
    assert coding.codes[1].tolist() == [127, -127]


def test_saturation() -> None:
    codes = quantize(np.array([1e9, -1e9, 127.4, -127.6, 0.5, -0.5], np.float32), scale=1.0)
    assert codes.tolist() == [127, -127, 127, -127, 0, 0]
    assert codes.dtype == np.int8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_with_the_layers_name(value: float) -> None:
    weights = np.ones((2, 3), np.float32)
    weights[1, 1] = value
    with pytest.raises(UsageError, match=rf"layer 7: weight 4 is {value}: expected finite weights"):
        linear_coding(weights, name="layer 7")


def test_opposite_infinities_are_refused() -> None:
    with pytest.raises(UsageError, match="layer 7: weight 0 is inf"):
        linear_coding(np.array([[np.inf, -np.inf]], np.float32), name="layer 7")


def test_integer_products_are_those_of_the_decoded_values() -> None:
    random = np.random.default_rng(2)
    weights = random.standard_normal((5, 33)).astype(np.float32)
    x = random.standard_normal(33).astype(np.float32)
    coding = linear_coding(weights, name="layer 1", activation_scale=0.03125)
    assert coding.activation_scale == 0.03125
    x_codes = quantize(x, scale=0.03125)
    sums = coding.codes.astype(np.int32) @ x_codes.astype(np.int32)
    expected = coding.decode().astype(np.float64) @ (x_codes * 0.03125)
    assert sums.dtype == np.int32
    # a power of two as the activations' scale: only the weights' scale rounds
    np.testing.assert_allclose(sums * coding.scales.astype(np.float64) * 0.03125, expected, rtol=1e-6, atol=1e-6)
