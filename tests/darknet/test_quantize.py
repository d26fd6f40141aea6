"""Whole networks in fewer bits, and batch normalization that becomes part of weights before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.cfg import read_cfg_text
from clprune.darknet.fold import fold_network
from clprune.darknet.network import Network, load_network
from clprune.darknet.quantize import QuantizeSettings, Scheme, describe_quantized, quantize_network, zero_masks
from clprune.darknet.random_weights import random_weights
from clprune.darknet.rewrite import fold_cfg
from clprune.errors import UsageError
from clprune.quantization.coding import CodebookCoding, HalfCoding, LinearCoding

CFG = """\
[net]
height=6
width=5
channels=3
# a comment that stays
[convolutional]
batch_normalize = 1
filters=7
size=3
pad=1
activation=relu
[connected]
output=4
activation=linear
"""


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = tmp_path / "small.cfg"
    path.write_text(CFG)
    return load_network(path)


def test_folded_cfg_describes_the_folded_network(network: Network, tmp_path: Path) -> None:
    text = fold_cfg(read_cfg_text(network.path))
    assert text == CFG.replace("batch_normalize = 1", "batch_normalize=0")
    network.path.write_text(text)
    folded, weights = fold_network(network, random_weights(network, seed=0))
    assert load_network(network.path).layers == folded.layers
    assert weights.layers[0] is not None
    assert weights.layers[0].scales is None


@pytest.mark.parametrize(
    ("scheme", "bits", "coding"),
    [("linear", 8, LinearCoding), ("codebook", 4, CodebookCoding), ("codebook", 8, CodebookCoding),
     ("half", 16, HalfCoding)],
)  # fmt: skip
def test_every_layer_is_coded(network: Network, scheme: Scheme, bits: int, coding: type) -> None:
    folded, weights = fold_network(network, random_weights(network, seed=0))
    after = quantize_network(folded, weights, QuantizeSettings(scheme=scheme, bits=bits))
    for values in after.layers:
        assert values is not None
        assert isinstance(values.coding, coding)
        assert np.array_equal(values.weights, values.coding.decode())
    described = describe_quantized(folded, weights, after)
    assert [(layer.layer, layer.kind, layer.bits) for layer in described] == [
        (0, "convolutional", bits), (1, "connected", bits)
    ]  # fmt: skip
    limit = {4: 0.15, 8: 0.02, 16: 1e-3}[bits]
    assert all(0 <= layer.norm_error < limit for layer in described)
    assert all(layer.kept_share > 0.95 for layer in described)


def test_activation_scales_are_those_of_the_layers(network: Network) -> None:
    folded, weights = fold_network(network, random_weights(network, seed=0))
    settings = QuantizeSettings(scheme="linear", bits=8)
    after = quantize_network(folded, weights, settings, activation_scales={1: 0.5})
    assert [values.coding.activation_scale for values in after.layers] == [None, 0.5]  # type: ignore[union-attr]


def test_refusals(network: Network) -> None:
    weights = random_weights(network, seed=0)
    settings = QuantizeSettings(scheme="codebook", bits=4)
    with pytest.raises(UsageError, match=r"small.cfg:6: layer 0 \[convolutional\] has batch normalization: fold it"):
        quantize_network(network, weights, settings)
    folded, weights = fold_network(network, weights)
    with pytest.raises(UsageError, match="activations with scheme codebook: expected linear"):
        quantize_network(folded, weights, settings, activation_scales={})
    values = weights.layers[1]
    assert values is not None
    broken = values.weights.copy()
    broken[0, 2] = np.inf
    layers = (weights.layers[0], replace(values, weights=broken))
    with pytest.raises(UsageError, match=r"layer 1 \[connected\]: weight 2 is inf"):
        quantize_network(folded, replace(weights, layers=layers), settings)


@pytest.mark.parametrize(
    ("scheme", "bits", "expected"),
    [("linear", 4, "4 bits by scheme linear: expected 8"), ("codebook", 5, "expected 4 or 8"),
     ("half", 8, "expected 16"), ("magic", 8, "scheme 'magic': expected one of linear, codebook, half")],
)  # fmt: skip
def test_settings_that_do_not_exist(scheme: Scheme, bits: int, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        QuantizeSettings(scheme=scheme, bits=bits)


def test_layers_without_weights_and_in_the_winograd_domain_stay(network: Network) -> None:
    folded, weights = fold_network(network, random_weights(network, seed=0))
    values = weights.layers[0]
    assert values is not None
    winograd = replace(values, weights=np.zeros((4, 4, 7, 3), np.float32), winograd=2)
    given = replace(weights, layers=(winograd, None))
    after = quantize_network(folded, given, QuantizeSettings(scheme="linear", bits=8))
    assert after.layers == given.layers


def test_masks_of_zeros(network: Network) -> None:
    folded, weights = fold_network(network, random_weights(network, seed=0))
    assert zero_masks(folded, weights) == {}
    values = weights.layers[0]
    assert values is not None
    spatial = values.weights.copy()
    spatial[2, 1, 0, 2] = 0
    masks = zero_masks(folded, replace(weights, layers=(replace(values, weights=spatial), weights.layers[1])))
    assert list(masks) == [0]
    assert masks[0].shape == (7, 27)
    assert np.argwhere(~masks[0]).tolist() == [[2, 11]]
    u = np.ones((4, 4, 7, 3), np.float32)
    u[1, 0, 5, 2] = 0
    masks = zero_masks(folded, replace(weights, layers=(replace(values, weights=u, winograd=2), weights.layers[1])))
    assert masks[0].shape == (16 * 7, 3)
    assert np.argwhere(~masks[0]).tolist() == [[4 * 7 + 5, 2]]
