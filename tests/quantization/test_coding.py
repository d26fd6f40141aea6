"""Codings decode to exactly what their definition says, and refuse arrays that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.errors import UsageError
from clprune.quantization.coding import CodebookCoding, HalfCoding, LinearCoding


def test_linear_decodes_to_code_times_scale() -> None:
    codes = np.array([[[[127]], [[-3]]], [[[0]], [[5]]]], np.int8)
    coding = LinearCoding(codes=codes, scales=np.array([0.5, 0.25], np.float32))
    assert coding.decode().tolist() == [[[[63.5]], [[-1.5]]], [[[0.0]], [[1.25]]]]
    assert coding.decode().dtype == np.float32
    assert coding.bits == 8


@pytest.mark.parametrize(("entries", "bits"), [(16, 4), (256, 8)])
def test_codebook_looks_up(entries: int, bits: int) -> None:
    codebook = np.arange(entries, dtype=np.float32) / 4
    coding = CodebookCoding(codes=np.array([[0, 3], [15, 1]], np.uint8), codebook=codebook)
    assert coding.decode().tolist() == [[0.0, 0.75], [3.75, 0.25]]
    assert coding.bits == bits


def test_half_keeps_subnormals() -> None:
    coding = HalfCoding(values=np.array([[2.0**-24, 1.0]], np.float16))
    assert coding.decode().tolist() == [[2.0**-24, 1.0]]
    assert coding.bits == 16


@pytest.mark.parametrize(
    ("codes", "scales", "expected"),
    [
        (np.zeros((2, 3), np.int16), np.ones(2, np.float32), "codes of int16: expected int8"),
        (np.zeros((2, 3), np.int8), np.ones(2), "scales of float64: expected float32"),
        (np.zeros((2, 3), np.int8), np.ones(3, np.float32), r"\(3,\) scales for codes \(2, 3\)"),
        (np.full((2, 3), -128, np.int8), np.ones(2, np.float32), "code of -128"),
        (np.zeros((2, 3), np.int8), np.array([1, 0], np.float32), "finite and positive"),
        (np.zeros((2, 3), np.int8), np.array([1, np.inf], np.float32), "finite and positive"),
    ],
)
def test_linear_refuses(codes: np.ndarray, scales: np.ndarray, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        LinearCoding(codes=codes, scales=scales)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_linear_refuses_activation_scales(scale: float) -> None:
    with pytest.raises(UsageError, match="activation scale"):
        LinearCoding(codes=np.zeros((1, 1), np.int8), scales=np.ones(1, np.float32), activation_scale=scale)


@pytest.mark.parametrize(
    ("codes", "codebook", "expected"),
    [
        (np.zeros(3, np.int8), np.zeros(16, np.float32), "codes of int8: expected uint8"),
        (np.zeros(3, np.uint8), np.zeros(15, np.float32), "expected 16 or 256"),
        (np.full(3, 16, np.uint8), np.zeros(16, np.float32), "code 16 of a codebook with 16 entries"),
        (np.zeros(3, np.uint8), np.full(16, np.nan, np.float32), "finite"),
    ],
)
def test_codebook_refuses(codes: np.ndarray, codebook: np.ndarray, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        CodebookCoding(codes=codes, codebook=codebook)


def test_half_refuses_float32() -> None:
    with pytest.raises(UsageError, match="float16"):
        HalfCoding(values=np.zeros(1, np.float32))  # type: ignore[arg-type]  # the wrong type is the test
