"""Files are as small as their forms promise: bytes by formula."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clprune.container.write import write_packed
from clprune.darknet.network import load_network
from clprune.darknet.values import LayerWeights, Weights
from clprune.quantization.coding import CodebookCoding, HalfCoding, LinearCoding

CFG = "[net]\ninputs=500\n[connected]\noutput=300\nactivation=linear\n"
ROWS, COLUMNS = 300, 500
#: What a file says of itself, biases and small tables aside from weights and places.
HEADER_BYTES = 1000


def coded(name: str, weights: np.ndarray) -> LayerWeights:
    values = LayerWeights(weights=weights, biases=np.zeros(ROWS, np.float32))
    codes = (weights != 0).astype(np.uint8)
    coding = {
        "float32": None,
        "float16": HalfCoding(values=weights.astype(np.float16)),
        "linear": LinearCoding(codes=codes.astype(np.int8), scales=np.ones(ROWS, np.float32)),
        "codebook8": CodebookCoding(codes=codes, codebook=np.arange(256, dtype=np.float32)),
        "codebook4": CodebookCoding(codes=codes, codebook=np.arange(16, dtype=np.float32)),
    }[name]
    return replace(values, coding=coding)


def file_bytes(folder: Path, values: LayerWeights) -> int:
    path = folder / "a.cfg"
    path.write_text(CFG)
    write_packed(path.with_suffix(".safetensors"), load_network(path), Weights(layers=(values,)))
    return path.with_suffix(".safetensors").stat().st_size


def entropy(share: float) -> float:
    """Bits per unit that say whether it is kept."""
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)


@pytest.mark.parametrize(
    ("coding", "bits"), [("float32", 32), ("float16", 16), ("linear", 8), ("codebook8", 8), ("codebook4", 4)]
)
@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_single_weights(tmp_path: Path, coding: str, bits: int, share: float) -> None:
    """Each kept weight takes its bits, and its place hardly more than what cannot be helped."""
    keep = np.random.default_rng(0).random((ROWS, COLUMNS)) < share
    found = file_bytes(tmp_path, coded(coding, keep.astype(np.float32)))
    tables_bytes = 4 * ROWS + {"linear": 4 * ROWS, "codebook8": 4 * 256, "codebook4": 4 * 16}.get(coding, 0)
    kept_bytes = np.count_nonzero(keep) * bits / 8
    places_bytes = 1.04 * entropy(np.count_nonzero(keep) / keep.size) * keep.size / 8
    assert found < kept_bytes + places_bytes + tables_bytes + HEADER_BYTES


@pytest.mark.parametrize("unit_rows", [4, 10, ROWS])
def test_units_share_their_places(tmp_path: Path, unit_rows: int) -> None:
    keep = np.repeat(np.random.default_rng(1).random((ROWS // unit_rows, COLUMNS)) < 0.25, unit_rows, axis=0)
    text = CFG + f"prune_method=workgroup\nprune_unit={unit_rows}x1\nprune_sparsity=0.75\n"
    (tmp_path / "a.cfg").write_text(text)
    network = load_network(tmp_path / "a.cfg")
    path = tmp_path / "a.safetensors"
    write_packed(path, network, Weights(layers=(coded("float16", keep.astype(np.float32)),)))
    kept_bytes = np.count_nonzero(keep) * 2
    places_bytes = 1.04 * entropy(np.count_nonzero(keep) / keep.size) * keep.size / unit_rows / 8
    assert path.stat().st_size < kept_bytes + places_bytes + 4 * ROWS + HEADER_BYTES


@pytest.mark.parametrize(("coding", "bits"), [("float32", 32), ("codebook4", 4)])
def test_dense_has_no_places(tmp_path: Path, coding: str, bits: int) -> None:
    found = file_bytes(tmp_path, coded(coding, np.ones((ROWS, COLUMNS), np.float32)))
    assert found < ROWS * COLUMNS * bits / 8 + 4 * ROWS + HEADER_BYTES


def test_what_is_removed_takes_nothing(tmp_path: Path) -> None:
    found = file_bytes(tmp_path, coded("codebook4", np.zeros((ROWS, COLUMNS), np.float32)))
    assert found < 4 * ROWS + HEADER_BYTES


def test_vgg16_with_a_tenth_of_its_weights_in_4_bits_fits_in_18_megabytes() -> None:
    """By the bounds that the tests above hold for each layer, on VGG16's 138 million weights."""
    weights, kept = 138_344_128, 0.1
    bits = weights * (4 * kept + 1.04 * entropy(kept))
    assert bits / 8 + 4 * 13_416 + 16 * 4 * 16 + 20 * HEADER_BYTES < 18e6
