"""What is written is read back bit by bit: every form of a matrix with every coding of its values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open

from clprune.container.layer import StoredWeights
from clprune.container.load import load_weights, save_weights
from clprune.container.read import describe_packed, read_packed
from clprune.container.write import write_packed
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import LayerWeights, Weights
from clprune.quantization.coding import CodebookCoding, Coding, HalfCoding, LinearCoding
from tests.container.networks import CFG, CONVOLUTION, WITH_WEIGHTS, changed, odd_network, odd_weights, pruned

Array = npt.NDArray[np.float32]


def float16(weights: Array) -> Coding:
    return HalfCoding(values=weights.astype(np.float16))


def linear(weights: Array) -> Coding:
    rows = weights.reshape(len(weights), -1)
    scales = np.maximum(np.abs(rows).max(axis=1) / 127, 1e-6).astype(np.float32)
    codes = np.round(rows / scales[:, None]).astype(np.int8).reshape(weights.shape)
    return LinearCoding(codes=codes, scales=scales, activation_scale=0.1)


def codebook(entries: int, weights: Array) -> Coding:
    """Codes of the nearest of equally spaced entries; 0.0 is not the first of them."""
    table = np.linspace(-1, 1, entries - 1).astype(np.float32)
    table = np.append(table, np.float32(1.5))
    assert table[entries // 2 - 1] == 0
    codes = np.abs(weights[..., None] - table).argmin(axis=-1).astype(np.uint8)
    return CodebookCoding(codes=codes, codebook=table)


CODINGS = {
    "float32": None,
    "float16": float16,
    "linear": linear,
    "codebook4": lambda weights: codebook(16, weights),
    "codebook8": lambda weights: codebook(256, weights),
}


def matrix_keep(values: LayerWeights, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return keep.reshape(values.weights.shape)


def dense(values: LayerWeights) -> LayerWeights:
    return values


def unstructured(values: LayerWeights) -> LayerWeights:
    return pruned(values, np.random.default_rng(1).random(values.weights.shape) < 0.1)


def row_blocks(values: LayerWeights) -> LayerWeights:
    matrix = values.weights.reshape(len(values.weights), -1)
    blocks = np.random.default_rng(2).random((-(-len(matrix) // 3), matrix.shape[1])) < 0.3
    return pruned(values, matrix_keep(values, np.repeat(blocks, 3, axis=0)[: len(matrix)]))


def whole_columns(values: LayerWeights) -> LayerWeights:
    columns = np.random.default_rng(3).random(values.weights[0].size) < 0.4
    return pruned(values, matrix_keep(values, np.tile(columns, (len(values.weights), 1))))


def empty_rows(values: LayerWeights) -> LayerWeights:
    keep = np.random.default_rng(4).random(values.weights.shape) < 0.2
    keep[::2] = False
    keep[-1] = False
    return pruned(values, keep)


def all_zero(values: LayerWeights) -> LayerWeights:
    return pruned(values, np.zeros(values.weights.shape, np.bool_))


def one_weight(values: LayerWeights) -> LayerWeights:
    keep = np.zeros(values.weights.size, np.bool_)
    keep[-1] = True
    return replace(pruned(values, matrix_keep(values, keep)), weights=matrix_keep(values, keep).astype(np.float32))


PATTERNS = (dense, unstructured, row_blocks, whole_columns, empty_rows, all_zero, one_weight)


def read_back(network: Network, weights: Weights) -> Weights:
    path = network.path.with_suffix(".safetensors")
    write_packed(path, network, weights)
    return read_packed(path, network)


def assert_same(found: Weights, expected: Weights) -> None:
    assert found.seen == expected.seen
    for mine, its in zip(found.layers, expected.layers, strict=True):
        assert (mine is None) == (its is None)
        if mine is None or its is None:
            continue
        for name in ("weights", "biases", "scales", "mean", "variance"):
            first, second = getattr(mine, name), getattr(its, name)
            assert (first is None) == (second is None), name
            if first is not None:
                assert first.dtype == np.float32
                assert first.shape == second.shape
                np.testing.assert_array_equal(first, second)
        assert mine.winograd == its.winograd
        assert_same_coding(mine.coding, its.coding)


def assert_same_coding(found: Coding | None, expected: Coding | None) -> None:
    assert type(found) is type(expected)
    if found is None or expected is None:
        return
    for name, array in vars(expected).items():
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(getattr(found, name), array)
        else:
            assert getattr(found, name) == array


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_round_trip(tmp_path: Path, pattern: object, coding: str) -> None:
    def change(values: LayerWeights) -> LayerWeights:
        values = pattern(values)
        if CODINGS[coding] is None:
            return values
        coded = CODINGS[coding](values.weights)
        return replace(values, weights=coded.decode(), coding=coded)

    network = odd_network(tmp_path)
    weights = odd_weights(network, change)
    assert_same(read_back(network, weights), weights)


@pytest.mark.parametrize("output_tile", [2, 4])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_winograd_domain(tmp_path: Path, output_tile: int, coding: str, share: float) -> None:
    """Units of 3 rows x 1 in each matrix; the last block of the 7 rows is short."""
    network = odd_network(tmp_path)
    rng = np.random.default_rng(6)
    side = output_tile + 2
    keep = np.repeat(rng.random((side, side, 3, 13)) < share, 3, axis=2)[:, :, :7]
    matrices = np.where(keep, rng.standard_normal(keep.shape), 0).astype(np.float32)

    def change(values: LayerWeights) -> LayerWeights:
        coded = None if CODINGS[coding] is None else CODINGS[coding](matrices)
        decoded = matrices if coded is None else coded.decode()
        return replace(values, weights=decoded, coding=coded, winograd=output_tile)

    weights = changed(odd_weights(network), CONVOLUTION, change)
    found = read_back(network, weights)
    assert_same(found, weights)
    layer = found.layers[CONVOLUTION]
    assert isinstance(layer, StoredWeights)
    assert layer.winograd == output_tile


def test_values_are_decoded_when_first_asked_for(tmp_path: Path) -> None:
    network = odd_network(tmp_path)
    layer = read_back(network, odd_weights(network, unstructured)).layers[CONVOLUTION]
    assert isinstance(layer, StoredWeights)
    assert "weights" not in vars(layer)
    assert layer.weights is layer.weights
    with pytest.raises(AttributeError):
        layer.weights = layer.biases  # type: ignore[misc]


def test_replaced_values_are_not_the_stored_ones(tmp_path: Path) -> None:
    network = odd_network(tmp_path)
    layer = read_back(network, odd_weights(network, unstructured)).layers[CONVOLUTION]
    assert layer is not None
    other = replace(layer, weights=layer.weights + 1)
    np.testing.assert_array_equal(other.weights, layer.weights + 1)
    assert replace(layer, biases=layer.biases + 1).weights is layer.weights


def test_what_is_read_can_be_written_again(tmp_path: Path) -> None:
    def change(values: LayerWeights) -> LayerWeights:
        values = unstructured(values)
        coded = codebook(16, values.weights)
        return replace(values, weights=coded.decode(), coding=coded)

    network = odd_network(tmp_path)
    path = network.path.with_suffix(".safetensors")
    weights = odd_weights(network, change)
    found = read_back(network, weights)
    first = path.read_bytes()
    write_packed(path, network, found)
    assert path.read_bytes() == first


def test_layers_without_values(tmp_path: Path) -> None:
    network = odd_network(tmp_path, text=CFG.replace("[connected]\n", "[connected]\ndontload=1\n"))
    weights = odd_weights(network)
    weights = replace(weights, layers=(*weights.layers[:6], None, *weights.layers[7:]))
    found = read_back(network, weights)
    assert found.layers[6] is None
    assert found.layers[2] is None
    assert found.layers[5] is not None


def test_description(tmp_path: Path) -> None:
    def change(values: LayerWeights) -> LayerWeights:
        coded = codebook(16, values.weights * 0)
        return replace(values, weights=coded.decode(), coding=coded)

    network = odd_network(tmp_path)
    path = network.path.with_suffix(".safetensors")
    weights = changed(odd_weights(network, row_blocks), CONVOLUTION, change)
    write_packed(path, network, weights)
    described = {layer.layer: layer for layer in describe_packed(path)}
    assert list(described) == [0, 1, 3, 4, 5, 6]
    first, second, norm = described[0], described[CONVOLUTION], described[4]
    assert first.record is not None
    assert (first.kind, first.shape) == ("convolutional", (13, 3, 3, 3))
    assert (first.record.method, first.record.unit, first.record.sparsity) == ("workgroup", "3x1", 0.5)
    assert (first.record.domain, first.record.coding, first.record.bits) == ("spatial", "float32", 32)
    expected = weights.layers[0]
    assert expected is not None
    assert first.record.nonzero == np.count_nonzero(expected.weights)
    assert second.record is not None
    assert (second.record.coding, second.record.bits, second.record.nonzero) == ("codebook", 4, 0)
    assert second.size_bytes == 7 * 4 + 16 * 4  # biases and codebook
    assert (norm.kind, norm.shape, norm.record) == ("batchnorm", (14,), None)


def test_metadata_is_what_the_format_says(tmp_path: Path) -> None:
    network = odd_network(tmp_path)
    path = network.path.with_suffix(".safetensors")
    write_packed(path, network, odd_weights(network))
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["clprune"])
        names = set(file.keys())
    assert (metadata["version"], metadata["seen"]) == (1, 640)
    assert metadata["network"][1] == {"layer": 1, "kind": "convolutional", "weights": [7, 13, 3, 3]}
    assert set(metadata["layers"]) == {str(index) for index in WITH_WEIGHTS}
    assert {"layers.0.biases", "layers.0.scales", "layers.0.weights.values", "layers.4.variance"} <= names


@pytest.mark.parametrize("suffix", [".weights", ".safetensors"])
def test_weights_of_layers_that_are_no_matrices(tmp_path: Path, suffix: str) -> None:
    """A shortcut's and an implicit layer's, in darknet's order: after the layer."""
    path = tmp_path / "a.cfg"
    path.write_text(
        "[net]\nheight=4\nwidth=5\nchannels=2\n[conv]\nfilters=2\n[conv]\nfilters=2\n"
        "[shortcut]\nfrom=0,1\nweights_type=per_channel\n[shortcut]\nfrom=0\nweights_type=per_feature\n"
        "[implicit]\nfilters=3\natoms=2\n"
    )
    network = load_network(path)
    weights = random_weights(network, seed=1)
    save_weights(path.with_suffix(suffix), network, weights)
    found = load_weights(path.with_suffix(suffix), network)
    assert [found.layers[index].weights.shape for index in (2, 3, 4)] == [(3, 2), (2,), (3, 2, 1)]  # type: ignore[union-attr]
    for one, other in zip(weights.layers, found.layers, strict=True):
        assert one is not None and other is not None
        assert np.array_equal(one.weights, other.weights)
