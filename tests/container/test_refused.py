"""Files that are no container, are cut short, newer, or another network's; weights that no container takes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from clprune.container.read import describe_packed, read_packed
from clprune.container.write import write_packed
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import FileError, WeightsError
from clprune.quantization.coding import CodebookCoding, HalfCoding, LinearCoding
from tests.container.networks import CFG, CONVOLUTION, changed, odd_network, odd_weights, pruned

Tensors = dict[str, np.ndarray]


def unstructured(values: LayerWeights) -> LayerWeights:
    return pruned(values, np.random.default_rng(1).random(values.weights.shape) < 0.1)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return odd_network(tmp_path)


@pytest.fixture
def path(network: Network) -> Path:
    path = network.path.with_suffix(".safetensors")
    write_packed(path, network, odd_weights(network, unstructured))
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any], Tensors], None]) -> None:
    """Change what a container says of itself and its arrays."""
    with safe_open(path, framework="numpy") as file:
        facts = json.loads(file.metadata()["clprune"])
        tensors = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
    change(facts, tensors)
    save_file(tensors, path, {"clprune": json.dumps(facts)})


def refusal(path: Path, network: Network) -> str:
    with pytest.raises(WeightsError) as caught:
        read_packed(path, network)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_truncated_at_any_length(path: Path, network: Network) -> None:
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 31, 100, 1000, len(whole) // 2, len(whole) - 33, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert f"{length} bytes, cut short or no safetensors file" in refusal(path, network)
        with pytest.raises(WeightsError, match="cut short"):
            describe_packed(path)


def test_bytes_behind_the_end(path: Path, network: Network) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    assert "no safetensors file" in refusal(path, network)


@pytest.mark.parametrize("content", [b"garbage", b"\xff" * 64, b"\0" * 64])
def test_garbage(path: Path, network: Network, content: bytes) -> None:
    path.write_bytes(content)
    assert "no safetensors file" in refusal(path, network)


def test_an_archive(path: Path, network: Network) -> None:
    path.write_bytes(b"PK\x03\x04" * 16)
    assert "is a zip archive" in refusal(path, network)


def test_missing_and_folders(tmp_path: Path, network: Network) -> None:
    assert "no such file" in refusal(tmp_path / "missing.safetensors", network)
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert "cannot be read: Is a directory" in refusal(folder, network)


def test_somebody_elses_safetensors(path: Path, network: Network) -> None:
    save_file({"a": np.zeros(3, np.float32)}, path, {"format": "pt"})
    text = refusal(path, network)
    assert "without 'clprune' in its metadata" in text
    assert "expected a packed model" in text


@pytest.mark.parametrize(("version", "advice"), [(2, "update clprune"), (0, "write it again"), ("1", "expected int")])
def test_other_versions(path: Path, network: Network, version: object, advice: str) -> None:
    rewrite(path, lambda facts, tensors: facts.update(version=version))
    text = refusal(path, network)
    assert f"version{' is' if version == '1' else ''} {version!r}" in text
    assert advice in text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("filters=7\nsize=3", "filters=14\nsize=3", "layer 1 [convolutional] weights [7, 13, 3, 3]: expected layer 1"),
        ("filters=7\nsize=3\npad=1", "filters=7\nsize=1", "expected layer 1 [convolutional] weights [7, 13, 1, 1]"),
        ("batch_normalize=1", "batch_normalize=0", "weights [13, 3, 3, 3], batch_normalize: expected layer 0"),
        ("output=5", "output=6", "layer 6 [connected] weights [5, 24]"),
        ("[softmax]", "[connected]\noutput=3", "6 layers with values: expected 7"),
        ("[batchnorm]", "[softmax]", "layer 4 [batchnorm] 14 channels: expected layer 5"),
    ],
)
def test_another_network(path: Path, tmp_path: Path, old: str, new: str, expected: str) -> None:
    other = odd_network(tmp_path, text=CFG.replace(old, new), name="other")
    text = refusal(path, other)
    assert expected in text
    assert str(other.path) in text


def test_what_does_not_matter_to_weights(path: Path, network: Network, tmp_path: Path) -> None:
    text = CFG.replace("activation=relu", "activation=linear").replace("prune_sparsity=0.5", "prune_sparsity=0.6")
    found, expected = (read_packed(path, one) for one in (odd_network(tmp_path, text=text, name="other"), network))
    for layer, same in zip(found.layers, expected.layers, strict=True):
        assert (layer is None) == (same is None)
        assert layer is None or same is None or np.array_equal(layer.weights, same.weights)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("layers.1.biases", np.zeros(6, np.float32), "layer 1 [convolutional]: biases: F32 [6], expected F32 [7]"),
        ("layers.1.biases", np.zeros(7, np.float16), "biases: F16 [7], expected F32 [7]"),
        ("layers.1.biases", np.full(7, np.nan, np.float32), "biases: 7 of 7 values are NaN or infinite"),
        ("layers.0.variance", np.full(13, -1, np.float32), "variance: -1 found, expected at least 0"),
        ("layers.1.weights.values", np.zeros(3, np.float32), "weights.values: F32 [3], expected"),
        ("layers.1.weights.quotients", np.zeros(3, np.uint8), "0 positions in 3 bytes of quotients"),
        ("layers.1.weights.quotients", np.full(40, 255, np.uint8), "positions in 40 bytes of quotients"),
        ("layers.1.weights.quotients", np.zeros((2, 2), np.uint8), "weights.quotients: U8 [2, 2]"),
        ("layers.1.weights.remainders", np.zeros(3, np.uint8), "3 bytes for"),
        ("layers.2.biases", np.zeros(7, np.float32), "1 arrays belong to no layer, first layers.2.biases"),
    ],
)
def test_wrong_arrays(path: Path, network: Network, name: str, array: np.ndarray, expected: str) -> None:
    rewrite(path, lambda facts, tensors: tensors.update({name: array}))
    assert expected in refusal(path, network)


def test_positions_behind_the_end(path: Path, network: Network) -> None:
    def shift(facts: dict[str, Any], tensors: Tensors) -> None:
        tensors["layers.1.weights.quotients"] = np.concatenate(
            [np.zeros(200, np.uint8), tensors["layers.1.weights.quotients"]]
        )

    rewrite(path, shift)
    assert ": expected less than 819" in refusal(path, network)


def test_values_that_are_not_finite(path: Path, network: Network) -> None:
    def spoil(facts: dict[str, Any], tensors: Tensors) -> None:
        tensors["layers.6.weights.values"][1] = np.inf

    rewrite(path, spoil)
    assert "layer 6 [connected], weights: 1 of" in refusal(path, network)


def test_halves_that_are_not_finite(path: Path, network: Network) -> None:
    coding = HalfCoding(values=np.full((7, 13, 3, 3), np.inf, np.float16))
    weights = changed(
        odd_weights(network), CONVOLUTION, lambda values: replace(values, weights=coding.decode(), coding=coding)
    )
    with pytest.raises(WeightsError, match="weights: 819 of 819 values are NaN or infinite"):
        write_packed(path, network, weights)


def test_missing_array(path: Path, network: Network) -> None:
    rewrite(path, lambda facts, tensors: tensors.__delitem__("layers.1.weights.values"))
    assert "layer 1 [convolutional]: weights.values is missing" in refusal(path, network)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bits": 7}, "coding 'float32' of 7 bits"),
        ({"bits": True}, "bits is True: expected int"),
        ({"coding": "ternary"}, "expected one of float32, float16, linear, codebook"),
        ({"coding": None}, "coding is None: expected str"),
        ({"domain": "fourier"}, "domain 'fourier'"),
        ({"domain": "winograd"}, "domain 'winograd' with output tile None"),
        ({"unit_rows": 8}, "units of 8 rows: expected at most 7"),
        ({"unit_rows": -1}, "expected counts of at least 0"),
        ({"kept_units": -1}, "expected counts of at least 0"),
        ({"kept_units": 3}, "expected 3 positions"),
        ({"remainder_bits": 99}, "99 remainder bits"),
        ({"unit_rows": 0}, "weights.values: F32"),
    ],
)
def test_wrong_records(path: Path, network: Network, change: dict[str, Any], expected: str) -> None:
    rewrite(path, lambda facts, tensors: facts["layers"]["1"].update(change))
    text = refusal(path, network)
    assert expected in text
    assert "layer 1 [convolutional]" in text


@pytest.mark.parametrize("name", ["network", "layers", "seen"])
@pytest.mark.parametrize("value", [None, 3.5, "text", [], {}, [None]])
def test_wrong_facts(path: Path, network: Network, name: str, value: object) -> None:
    rewrite(path, lambda facts, tensors: facts.update({name: value}))
    assert str(path) in refusal(path, network)


def test_winograd_tile_of_no_use(path: Path, network: Network) -> None:
    rewrite(path, lambda facts, tensors: facts["layers"]["1"].update(domain="winograd", output_tile=10**6))
    assert "an output tile of 1000000: expected 1 to 8" in refusal(path, network)


def test_winograd_domain_of_a_layer_that_has_none(path: Path, network: Network) -> None:
    rewrite(path, lambda facts, tensors: facts["layers"]["6"].update(domain="winograd", output_tile=2))
    assert "expected a 3x3 convolution of stride 1 in one group" in refusal(path, network)


@pytest.mark.parametrize(
    ("scales", "codes", "expected"),
    [
        (0.0, 1, "scales that are not finite and positive"),
        (3e38, 1, "scales that are not finite and positive: expected up to 2.6"),  # times 127 it is infinite
        (1.0, -128, "a code of -128"),
    ],
)
def test_linear_codes(path: Path, network: Network, scales: float, codes: int, expected: str) -> None:
    coding = LinearCoding(codes=np.ones((7, 13, 3, 3), np.int8), scales=np.ones(7, np.float32))
    weights = changed(
        odd_weights(network), CONVOLUTION, lambda values: replace(values, weights=coding.decode(), coding=coding)
    )
    write_packed(path, network, weights)

    def spoil(facts: dict[str, Any], tensors: Tensors) -> None:
        tensors["layers.1.weights.scales"][:] = scales
        tensors["layers.1.weights.values"][:] = codes

    rewrite(path, spoil)
    assert expected in refusal(path, network)


def spoiled(network: Network, **change: Any) -> Weights:
    return changed(odd_weights(network), CONVOLUTION, lambda values: replace(values, **change))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weights", "biases"])
def test_not_finite_is_not_written(network: Network, path: Path, name: str, value: float) -> None:
    shape = (7, 13, 3, 3) if name == "weights" else (7,)
    array = np.zeros(shape, np.float32)
    array.reshape(-1)[-1] = value
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=rf"layer 1 \[convolutional\] \(line 16\), {name}: 1 of {array.size} values"):
        write_packed(path, network, spoiled(network, **{name: array}))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weights": np.zeros((7, 13, 3, 3), np.float64)}, "weights of float64: expected float32"),
        ({"biases": np.zeros(7, np.float16)}, "biases of float16: expected float32"),
        (
            {"weights": np.zeros((7, 12, 3, 3), np.float32)},
            r"weights of shape \(7, 12, 3, 3\): expected \(7, 13, 3, 3\)",
        ),
        ({"winograd": 4}, r"weights of shape \(7, 13, 3, 3\): expected \(6, 6, 7, 13\)"),
        ({"winograd": 0}, "an output tile of 0: expected 1 to 8"),
        ({"biases": np.zeros(3, np.float32)}, r"biases of shape \(3,\): expected \(7,\)"),
    ],
)
def test_other_arrays_are_not_written(network: Network, path: Path, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(WeightsError, match=expected) as caught:
        write_packed(path, network, spoiled(network, **change))
    assert "layer 1 [convolutional] (line 16)" in str(caught.value)


def test_missing_values_are_not_written(network: Network, path: Path) -> None:
    weights = odd_weights(network)
    with pytest.raises(WeightsError, match=r"layer 0 .* has no values to write"):
        write_packed(path, network, replace(weights, layers=(None, *weights.layers[1:])))
    with pytest.raises(WeightsError, match="7 layers of weights for 8 layers"):
        write_packed(path, network, replace(weights, layers=weights.layers[1:]))


def test_codes_for_another_shape_are_not_written(network: Network, path: Path) -> None:
    coding = CodebookCoding(codes=np.zeros((7, 13), np.uint8), codebook=np.zeros(16, np.float32))
    with pytest.raises(WeightsError, match=r"weights of shape \(7, 13\)"):
        write_packed(path, network, spoiled(network, coding=coding))


def test_an_interrupted_write_leaves_the_old_file(
    network: Network, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def no_space(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(FileError, match="No space left on device"):
        write_packed(path, network, odd_weights(network))
    assert path.read_bytes() == before
    assert sorted(item.name for item in path.parent.iterdir()) == ["odd.cfg", "odd.safetensors"]


def test_no_folder(network: Network, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        write_packed(tmp_path / "missing" / "a.safetensors", network, odd_weights(network))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "its metadata: JSON nested too deeply"),
        ('{"version": 1' + "0" * 400 + "}", "its metadata: not JSON: 1000.*expected whole numbers of at most 64 bits"),
        ('{"version": -Infinity}', "its metadata: not JSON: -Infinity: expected finite numbers"),
        ('{"version": "\\ud800"}', "its metadata: the text .*all printable"),
        ("", "its metadata: not JSON"),
        ("[]", r"its metadata: all of it is \[\]: expected an object"),
    ],
)
def test_metadata_that_no_reader_takes(path: Path, network: Network, text: str, words: str) -> None:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"clprune": text})
    assert re.search(words, refusal(path, network))
    with pytest.raises(WeightsError, match=words):
        describe_packed(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "\n"}, r"kind is '\\n': expected str"),
        ({"weights": [0, 13, 3, 3]}, r"layer 1 has the shape \[0, 13, 3, 3\]: expected whole numbers from 1 on"),
        ({"weights": []}, "has the shape"),
        ({"weights": [True, 1.5]}, "has the shape"),
        ({"weights": [1, 1]}, "more weights that are not zero than weights"),
        ({"layer": None}, "layer is None: expected int"),
    ],
)
def test_descriptions_that_cannot_be(path: Path, network: Network, change: dict[str, Any], words: str) -> None:
    rewrite(path, lambda facts, tensors: facts["network"][1].update(change))
    with pytest.raises(WeightsError, match=words) as caught:
        describe_packed(path)
    assert str(caught.value).isprintable()
    refusal(path, network)


#: What a value of the metadata may be instead.
VALUES = st.sampled_from(
    [None, True, 0, -1, 0.5, 1e-300, 1e300, 2**31, 2**63, "", "winograd", "linear", "\n", "9" * 99, [], [0], {}, [[]]]
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_other_value_is_refused_or_of_no_harm(path: Path, network: Network, data: st.DataObject) -> None:
    """What is not refused in one line gives finite weights and a description that can be printed."""
    whole = path.read_bytes()

    def change(facts: dict[str, Any], tensors: Tensors) -> None:
        place: Any = facts
        while isinstance(place, dict | list) and place:
            name = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if data.draw(st.integers(0, 3)) == 0 or not isinstance(place[name], dict | list):
                place[name] = copy.deepcopy(data.draw(VALUES))
                return
            place = place[name]

    rewrite(path, change)
    try:
        for layer in read_packed(path, network).layers:
            assert layer is None or np.isfinite(layer.weights).all()
        for described in describe_packed(path):
            assert 0 <= described.kept_share <= 1
            assert described.kind.isprintable()
    except WeightsError as error:
        assert str(error).isprintable()
    finally:
        path.write_bytes(whole)
