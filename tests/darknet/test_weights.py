"""Weights files, byte by byte: every era, every kind of layer, every way of not fitting."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import LayerWeights, Weights
from clprune.darknet.weights import read_weights, write_weights
from clprune.errors import FileError, WeightsError

NET = "[net]\nheight=2\nwidth=2\nchannels=2\n"
CONV = "[convolutional]\nfilters=3\nsize=1\n"
CONV_NORM = "[convolutional]\nfilters=3\nsize=1\nbatch_normalize=1\n"
CONNECTED = "[connected]\noutput=2\n"
HEADER = struct.pack("<iiiQ", 0, 2, 0, 64)


def network_of(folder: Path, layers: str, net: str = NET) -> Network:
    path = folder / "a.cfg"
    path.write_text(net + layers)
    return load_network(path)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def counting(first: int, count: int) -> list[float]:
    return [float(value) for value in range(first, first + count)]


def read(folder: Path, network: Network, content: bytes, *, allow_truncated: bool = False) -> Weights:
    """The weights of a file of this content, which must be written again byte for byte."""
    path, again = folder / "a.weights", folder / "again.weights"
    path.write_bytes(content)
    weights = read_weights(path, network, allow_truncated=allow_truncated)
    if not allow_truncated:
        write_weights(again, network, weights)
        assert again.read_bytes() == content
        again.unlink()
    return weights


def only(weights: Weights) -> LayerWeights:
    (layer,) = [layer for layer in weights.layers if layer is not None]
    return layer


def test_convolutional(tmp_path: Path) -> None:
    weights = read(tmp_path, network_of(tmp_path, CONV), HEADER + floats(*counting(1, 9)))
    assert (weights.major, weights.minor, weights.revision, weights.seen) == (0, 2, 0, 64)
    layer = only(weights)
    assert layer.biases.tolist() == [1, 2, 3]
    assert layer.weights.tolist() == [[[[4]], [[5]]], [[[6]], [[7]]], [[[8]], [[9]]]]
    assert (layer.scales, layer.mean, layer.variance) == (None, None, None)
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in (layer.biases, layer.weights))


def test_convolutional_with_groups_and_size(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[convolutional]\nfilters=4\nsize=2\ngroups=2\n")
    layer = only(read(tmp_path, network, HEADER + floats(*counting(0, 4 + 16))))
    assert layer.weights.shape == (4, 1, 2, 2)
    assert layer.weights[3].tolist() == [[[16, 17], [18, 19]]]


def test_convolutional_with_batch_norm(tmp_path: Path) -> None:
    layer = only(read(tmp_path, network_of(tmp_path, CONV_NORM), HEADER + floats(*counting(1, 18))))
    assert layer.scales is not None and layer.mean is not None and layer.variance is not None
    assert [array.tolist() for array in (layer.biases, layer.scales, layer.mean, layer.variance)] == [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
        [10, 11, 12],
    ]
    assert layer.weights.reshape(3, 2).tolist() == [[13, 14], [15, 16], [17, 18]]


def test_connected_stores_statistics_last(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONNECTED + "batch_normalize=1\n", "[net]\ninputs=3\n")
    layer = only(read(tmp_path, network, HEADER + floats(*counting(1, 14))))
    assert layer.scales is not None and layer.mean is not None and layer.variance is not None
    assert layer.biases.tolist() == [1, 2]
    assert layer.weights.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert [array.tolist() for array in (layer.scales, layer.mean, layer.variance)] == [[9, 10], [11, 12], [13, 14]]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (struct.pack("<iiii", 0, 1, 0, 64), (0, 1, 0)),
        (struct.pack("<iiiQ", 0, 2, 0, 64), (0, 2, 0)),
        (struct.pack("<iiiQ", 0, 2, 5, 64), (0, 2, 5)),
        (struct.pack("<iiiQ", 1, 0, 0, 64), (1, 0, 0)),
        (struct.pack("<iiii", 0, 0, 0, 64), (0, 0, 0)),
    ],
)
def test_versions(tmp_path: Path, header: bytes, words: tuple[int, int, int]) -> None:
    network = network_of(tmp_path, CONNECTED, "[net]\ninputs=3\n")
    weights = read(tmp_path, network, header + floats(*counting(1, 8)))
    assert (weights.major, weights.minor, weights.revision) == words
    assert weights.seen == 64
    assert only(weights).weights.tolist() == [[3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    "header",
    [
        # The words of the official vgg-16.weights: learning rate 1e-5, momentum 0.9, decay 5e-4.
        struct.pack("<iiii", 925353388, 1063675494, 973279855, 64),
        struct.pack("<fff", 1e-5, 0.9, 5e-4) + struct.pack("<i", 64),
        struct.pack("<fff", 0.0, 0.9, 5e-4) + struct.pack("<i", 64),
    ],
)
def test_oldest_era_is_transposed(tmp_path: Path, header: bytes) -> None:
    network = network_of(tmp_path, CONV + CONNECTED, "[net]\nheight=1\nwidth=1\nchannels=2\n")
    weights = read(tmp_path, network, header + floats(*counting(1, 9), *counting(1, 8)))
    conv, connected = weights.layers
    assert conv is not None and connected is not None
    assert conv.weights.reshape(3, 2).tolist() == [[4, 5], [6, 7], [8, 9]]
    assert connected.biases.tolist() == [1, 2]
    assert connected.weights.tolist() == [[3, 5, 7], [4, 6, 8]]
    assert connected.weights.flags.c_contiguous
    assert weights.seen == 64


NARROW_HEADER = struct.pack("<iiiI", 0, 2, 0, 64)


@pytest.mark.parametrize("biases", [(1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (-0.0, 0.0, 1.0)])
def test_version_2_of_32_bit_builds(tmp_path: Path, biases: tuple[float, ...]) -> None:
    """Their `size_t` has four bytes: told by the file's length."""
    weights = read(tmp_path, network_of(tmp_path, CONV), NARROW_HEADER + floats(*biases, *counting(4, 6)))
    assert (weights.minor, weights.seen) == (2, 64)
    assert only(weights).biases.tolist() == list(biases)
    assert only(weights).weights.reshape(-1).tolist() == counting(4, 6)


def test_32_bit_builds_of_forks_that_store_all_arrays(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[batchnorm]\n")
    layer = only(read(tmp_path, network, NARROW_HEADER + floats(*counting(1, 8))))
    assert layer.biases.tolist() == [1, 2]
    layer = only(read(tmp_path, network, NARROW_HEADER + floats(*counting(1, 6))))
    assert layer.biases.tolist() == [0, 0]


@pytest.mark.parametrize("biases", [(1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (0.0, 2.0, 3.0)])
def test_a_file_that_lacks_its_last_value_is_not_of_a_32_bit_build(tmp_path: Path, biases: tuple[float, ...]) -> None:
    content = HEADER + floats(*biases, *counting(4, 6))
    with pytest.raises(WeightsError, match=r"too short: layer 0 .* needs 36 bytes and finds 32"):
        read(tmp_path, network_of(tmp_path, CONV), content[:-4])


def test_a_count_of_32_bits_has_no_sign(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV)
    weights = read(tmp_path, network, struct.pack("<iiiI", 0, 1, 0, 2**32 - 1) + floats(*counting(1, 9)))
    assert weights.seen == 2**32 - 1
    write_weights(tmp_path / "b.weights", network, weights)


def test_transposing_more_than_one_block(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[connected]\noutput=259\n", "[net]\ninputs=517\n")
    stored = np.arange(517 * 259, dtype="<f4").reshape(517, 259)
    header = struct.pack("<fffi", 1e-5, 0.9, 5e-4, 0)
    layer = only(read(tmp_path, network, header + floats(*[0.0] * 259) + stored.tobytes()))
    np.testing.assert_array_equal(layer.weights, stored.T)


def test_count_of_images_is_64_bits(tmp_path: Path) -> None:
    header = struct.pack("<iiiQ", 0, 2, 5, 2**40 + 1)
    assert read(tmp_path, network_of(tmp_path, CONV), header + floats(*counting(1, 9))).seen == 2**40 + 1


def test_batchnorm_layer_with_and_without_biases(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[batchnorm]\n" + CONV)
    conv = floats(*counting(1, 9))
    without = read(tmp_path, network, HEADER + floats(1, 2, 3, 4, 5, 6) + conv).layers[0]
    with_biases = read(tmp_path, network, HEADER + floats(7, 8, 1, 2, 3, 4, 5, 6) + conv).layers[0]
    for layer, biases in ((without, [0, 0]), (with_biases, [7, 8])):
        assert layer is not None and layer.scales is not None and layer.mean is not None and layer.variance is not None
        assert layer.biases.tolist() == biases
        assert [layer.scales.tolist(), layer.mean.tolist(), layer.variance.tolist()] == [[1, 2], [3, 4], [5, 6]]
        assert layer.weights.size == 0


def test_local_layer(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[local]\nfilters=3\nsize=2\n", "[net]\nheight=2\nwidth=3\nchannels=2\n")
    layer = only(read(tmp_path, network, HEADER + floats(*counting(0, 6 + 2 * 3 * 8))))
    assert layer.biases.tolist() == counting(0, 6)
    assert layer.weights.shape == (2, 3, 2, 2, 2)
    assert layer.weights[1, 0, 0].tolist() == [[30, 31], [32, 33]]


def test_layers_without_values_and_dontload(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV + "dontload=1\n[maxpool]\nstride=2\n" + CONNECTED + "[softmax]\n")
    weights = read(tmp_path, network, HEADER + floats(*counting(1, 8)))
    assert [layer is None for layer in weights.layers] == [True, True, False, True]


def test_short_file_names_layer_and_sizes(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV + "[softmax]\n" + CONNECTED)
    content = HEADER + floats(*counting(0, 9 + 26))
    path = tmp_path / "a.weights"
    for missing in (1, 4, 50):
        with pytest.raises(WeightsError) as caught:
            read(tmp_path, network, content[:-missing])
        assert str(caught.value) == (
            f"{path}: {160 - missing} bytes, too short: layer 2 [connected] ({tmp_path / 'a.cfg'}:9) needs 104 bytes "
            f"and finds {104 - missing}; this network's file has 160 bytes"
        )
    with pytest.raises(WeightsError, match=r"layer 0 \[convolutional\] .*needs 36 bytes and finds 0;"):
        read(tmp_path, network, HEADER)


@pytest.mark.parametrize("extra", [1, 3, 4, 400])
def test_long_file_names_layer_and_sizes(tmp_path: Path, extra: int) -> None:
    network = network_of(tmp_path, CONV + "[softmax]\n")
    words = (
        rf"{56 + extra} bytes, too long: {extra} bytes are left after layer 0 \[convolutional\] \(.*a\.cfg:5\); .* 56 "
    )
    with pytest.raises(WeightsError, match=words):
        read(tmp_path, network, HEADER + floats(*counting(0, 9)) + bytes(extra))


def test_network_without_weights(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[softmax]\n")
    assert read(tmp_path, network, HEADER).layers == (None,)
    with pytest.raises(WeightsError, match="no layer has weights"):
        read(tmp_path, network, HEADER + floats(1))


def test_truncated_files_only_when_asked_and_only_between_layers(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV + "[softmax]\n" + CONNECTED)
    prefix = HEADER + floats(*counting(0, 9))
    weights = read(tmp_path, network, prefix, allow_truncated=True)
    assert [layer is None for layer in weights.layers] == [False, True, True]
    with pytest.raises(WeightsError, match="too short"):
        read(tmp_path, network, prefix)
    with pytest.raises(WeightsError, match=r"layer 2 \[connected\].*finds 4;"):
        read(tmp_path, network, prefix + floats(1), allow_truncated=True)
    with pytest.raises(WeightsError, match="too long"):
        read(tmp_path, network, prefix + floats(*counting(0, 27)), allow_truncated=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("position", "name"), [(0, "biases"), (5, "scales"), (17, "weights")])
def test_values_that_are_not_finite(tmp_path: Path, value: float, position: int, name: str) -> None:
    values = counting(1, 18)
    values[position] = value
    with pytest.raises(WeightsError, match=rf"layer 0 \[convolutional\] \(.*a\.cfg:5\), {name}: 1 of .* NaN or inf"):
        read(tmp_path, network_of(tmp_path, CONV_NORM), HEADER + floats(*values))


def test_negative_variance(tmp_path: Path) -> None:
    values = counting(1, 18)
    values[10] = -0.5
    with pytest.raises(WeightsError, match=r"variance: -0\.5 found, expected at least 0"):
        read(tmp_path, network_of(tmp_path, CONV_NORM), HEADER + floats(*values))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes: expected a darknet header"),
        (b"\0" * 15, "15 bytes"),
        (struct.pack("<iii", 0, 2, 0) + b"\0" * 4, "header of 20 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a picture"),
        (b"\x01\x02\x03" + bytes(200), "too long"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "is an HTML page"),
        (b"<HTML><head>" + b" " * 100, "is an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
            r"is a Git LFS pointer \(`git lfs pull`",
        ),
        (b"404: Not Found", "is a text file that begins with '404: Not Found'"),
        (b'{"error": "gated"}\n' * 9, "is a text file that begins with"),
        (b"PK\3\4" + bytes(99), "is a zip archive"),
        (b"\x1f\x8b\x08" + bytes(99), "is a gzip file"),
        (struct.pack("<Q", 80) + b'{"__metadata__"' + bytes(80), "is a safetensors file"),
        (b"\xff" * 100, "version -1"),
    ],
)
def test_what_is_no_weights_file(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        read(tmp_path, network_of(tmp_path, CONV), content)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV)
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(tmp_path / "missing.weights", network)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(tmp_path, network)


def test_sizes_are_compared_in_64_bits(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[connected]\noutput=100000\n", "[net]\nheight=500\nwidth=500\nchannels=3\n")
    with pytest.raises(WeightsError, match="needs 300000400000 bytes and finds 8"):
        read(tmp_path, network, HEADER + floats(1, 2))


EVERY_KIND = (
    "[batchnorm]\n[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
    "[convolutional]\nfilters=6\ngroups=2\nactivation=relu\n[maxpool]\nstride=2\n[local]\nfilters=2\nsize=2\n"
    "[connected]\noutput=5\nbatch_normalize=1\n[dropout]\n[connected]\noutput=3\nactivation=linear\n[softmax]\n"
)


def assert_equal(first: Weights, second: Weights) -> None:
    assert len(first.layers) == len(second.layers)
    for one, other in zip(first.layers, second.layers, strict=True):
        assert (one is None) == (other is None)
        if one is None or other is None:
            continue
        for name in ("weights", "biases", "scales", "mean", "variance"):
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None) == (right is None), name
            if left is not None:
                np.testing.assert_array_equal(left, right)
                assert left.shape == right.shape and left.dtype == right.dtype


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), seen=st.integers(0, 2**64 - 1))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, seen: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    network = network_of(folder, EVERY_KIND, "[net]\nheight=5\nwidth=7\nchannels=3\n")
    weights = random_weights(network, seed=seed)
    path = folder / "round.weights"
    write_weights(path, network, Weights(layers=weights.layers, seen=seen))
    again = read_weights(path, network)
    assert_equal(weights, again)
    assert again.seen == seen
    assert again.minor == 2


def test_batchnorm_biases_are_written_only_if_needed(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[batchnorm]\n")
    weights = read(tmp_path, network, HEADER + floats(1, 2, 3, 4, 5, 6))
    layer = replace(only(weights), biases=np.array([7, 8], np.float32))
    write_weights(tmp_path / "b.weights", network, replace(weights, layers=(layer,)))
    assert (tmp_path / "b.weights").read_bytes() == HEADER + floats(7, 8, 1, 2, 3, 4, 5, 6)


def test_a_file_may_lack_statistics_and_filters(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV_NORM + "dontloadscales=1\nnumload=2\n")
    layer = only(read(tmp_path, network, HEADER + floats(*counting(1, 6))))
    assert layer.scales is not None and layer.mean is not None and layer.variance is not None
    assert layer.biases.tolist() == [1, 2, 0]
    assert layer.weights.reshape(3, 2).tolist() == [[3, 4], [5, 6], [0, 0]]
    assert [layer.scales.tolist(), layer.mean.tolist(), layer.variance.tolist()] == [[1] * 3, [0] * 3, [1] * 3]


def test_a_layer_that_shares_values_has_none_in_the_file(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV + "[conv]\nfilters=2\n" + CONV + "share_index=-2\n")
    weights = read(tmp_path, network, HEADER + floats(*counting(1, 9 + 8)))
    assert weights.layers[-1] is None and network.layers[-1].values_index == 0


def test_large_files_are_mapped_and_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clprune.darknet.weights.MAPPED_BYTES", 4)
    content = HEADER + floats(*counting(1, 9))
    layer = only(read(tmp_path, network_of(tmp_path, CONV), content))
    layer.weights[:] = 0
    assert (tmp_path / "a.weights").read_bytes() == content


def test_any_dtype_and_order_is_written_as_float32(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONNECTED, "[net]\ninputs=3\n")
    layer = LayerWeights(
        biases=np.array([1, 2], dtype=np.float64),  # other dtypes must not corrupt the file
        weights=np.asfortranarray(np.array([[3, 4, 5], [6, 7, 8]], dtype=np.float32)),
    )
    path = tmp_path / "b.weights"
    write_weights(path, network, Weights(layers=(layer,), seen=64))
    assert path.read_bytes() == HEADER + floats(*counting(1, 8))


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    network = network_of(tmp_path, CONV)
    weights = read(tmp_path, network, HEADER + floats(*counting(1, 9)))
    layer = only(weights)
    path = tmp_path / "b.weights"
    path.write_bytes(b"old")
    bad = {
        "no values to write": None,
        "shape": LayerWeights(weights=layer.weights[:2], biases=layer.biases),
        "NaN or infinite": LayerWeights(weights=layer.weights * np.float32(np.nan), biases=layer.biases),
    }
    for words, values in bad.items():
        with pytest.raises(WeightsError, match=words):
            write_weights(path, network, Weights(layers=(values,)))
    with pytest.raises(WeightsError, match="2 layers of weights for 1"):
        write_weights(path, network, Weights(layers=(layer, layer)))
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.cfg", "a.weights", "b.weights"]
    with pytest.raises(FileError, match="no such folder"):
        write_weights(tmp_path / "missing" / "b.weights", network, weights)
