"""Weights as they lie in device memory."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.geometry import ConvProblem
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.samples import coded_weights
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.sparse_conv_local import SPARSE_CONV_LOCAL
from clprune.kernels.storage import STORAGES, device_values, pack_nibbles, storage_of, stored_matrix

BIAS = np.zeros(2, np.float32)
MATRIX = np.array([[0, 1.5, -0.25, 0], [127, 0, 0, -64]], np.float32)


def layer(storage: str = "float32") -> LayerWeights:
    return coded_weights(MATRIX, bias=BIAS, storage=storage)


@pytest.mark.parametrize("storage", STORAGES)
def test_storage_keeps_the_layers_own_coding(storage: str) -> None:
    weights = layer(storage)
    assert storage_of(weights.coding) == storage
    stored = stored_matrix(weights, storage)
    values = stored.values.astype(np.float32)
    if stored.codebook is not None:
        values = stored.codebook[stored.values]
    if stored.scales is not None:
        values *= stored.scales[:, None]
    assert np.array_equal(values, weights.weights)
    assert np.array_equal(stored.is_kept, weights.weights != 0)


def test_linear_codes() -> None:
    stored = stored_matrix(layer("int8"), "int8")
    assert stored.values.tolist() == [[0, 127, -21, 0], [127, 0, 0, -64]]
    assert stored.scales is not None
    assert stored.scales[1] == 1.0


@pytest.mark.parametrize("storage", ["int8", "codebook8", "codebook4"])
def test_other_coding_is_refused(storage: str) -> None:
    with pytest.raises(UsageError, match=f"weights stored as float32 cannot run as {storage}: quantize"):
        stored_matrix(layer(), storage)


def test_unknown_storage() -> None:
    with pytest.raises(UsageError, match="storage 'int3': expected one of float32, float16, int8, "):
        stored_matrix(layer(), "int3")


def test_float16_has_a_largest_value() -> None:
    weights = LayerWeights(weights=np.array([[1e6]], np.float32), biases=BIAS[:1])
    with pytest.raises(UsageError, match="a weight of 1e\\+06 does not fit float16"):
        stored_matrix(weights, "float16")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kernel", [CONV, SPARSE_CONV, SPARSE_CONV_LOCAL], ids=lambda kernel: kernel.name)
def test_values_that_are_not_finite_are_refused_on_packing(kernel: object, value: float) -> None:
    operation = conv_operation(
        ConvProblem.square(batch=1, in_channels=2, in_height=4, in_width=4, out_channels=3, size=1)
    )
    matrix = np.ones((3, 2, 1, 1), np.float32)
    matrix[1, 1] = value
    weights = LayerWeights(weights=matrix, biases=np.zeros(3, np.float32))
    with pytest.raises(UsageError, match=r"1 values that are not finite, .* output channel 1, column 1"):
        kernel.pack(kernel.safe_tile(operation), operation, weights=weights)  # type: ignore[attr-defined]


def test_nibbles() -> None:
    codes = np.array([1, 2, 3, 4, 5], np.uint8)
    assert pack_nibbles(codes).tolist() == [0x21, 0x43, 0x05, 0, 0, 0, 0, 0]
    assert device_values(codes, "codebook8") is codes
