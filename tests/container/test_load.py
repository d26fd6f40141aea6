"""Which file is loaded when a path, another suffix or nothing is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clprune.container.load import default_weights, load_weights
from clprune.container.write import write_packed
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.darknet.weights import write_weights
from clprune.errors import WeightsError
from tests.container.networks import odd_network


def test_the_file_beside_the_cfg(tmp_path: Path) -> None:
    network = odd_network(tmp_path)
    darknet, packed = tmp_path / "odd.weights", tmp_path / "odd.safetensors"
    assert default_weights(network.path) == darknet
    with pytest.raises(WeightsError, match=r"odd\.weights: no such file: .* beside odd\.cfg .*\.safetensors"):
        load_weights(None, network)
    first, second = random_weights(network, seed=1), random_weights(network, seed=2)
    write_packed(packed, network, first)
    assert default_weights(network.path) == packed
    assert is_same(load_weights(None, network), first)
    write_weights(darknet, network, second)
    assert default_weights(network.path) == darknet
    assert is_same(load_weights(None, network), second)
    assert is_same(load_weights(packed, network), first)
    assert is_same(load_weights(str(darknet), network), second)


def test_the_suffix_says_what_a_file_is(tmp_path: Path) -> None:
    network = odd_network(tmp_path)
    weights = random_weights(network, seed=1)
    write_packed(tmp_path / "A.SafeTensors", network, weights)
    write_weights(tmp_path / "a.backup", network, weights)
    assert is_same(load_weights(tmp_path / "A.SafeTensors", network), weights)
    assert is_same(load_weights(tmp_path / "a.backup", network), weights)
    (tmp_path / "a.backup").rename(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="no safetensors file"):
        load_weights(tmp_path / "a.safetensors", network)


def is_same(found: Weights, expected: Weights) -> bool:
    return all(
        first is None if second is None else first is not None and np.array_equal(first.weights, second.weights)
        for first, second in zip(found.layers, expected.layers, strict=True)
    )
