"""Random weights: reproducible, independent per layer, and neither dying nor exploding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError

NET = "[net]\nheight=4\nwidth=4\nchannels=3\n"


def network_of(folder: Path, layers: str) -> Network:
    path = folder / "a.cfg"
    path.write_text(NET + layers)
    return load_network(path)


def layer_of(network: Network, index: int, *, seed: int = 1) -> LayerWeights:
    layer = random_weights(network, seed=seed).layers[index]
    assert layer is not None
    return layer


def test_same_seed_same_values_other_seed_others(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[conv]\nfilters=2\nsize=3\n[maxpool]\n[conn]\noutput=4\n")
    first, again, other = (layer_of(network, 2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)
    assert random_weights(network, seed=1).layers[1] is None


def test_a_layer_does_not_depend_on_those_before_it(tmp_path: Path) -> None:
    tail = "[conv]\nfilters=5\nsize=3\n"
    wide = layer_of(network_of(tmp_path, "[conv]\nfilters=3\nsize=1\n" + tail), 1)
    other = layer_of(network_of(tmp_path, "[conv]\nfilters=3\nsize=2\npad=1\n" + tail), 1)
    np.testing.assert_array_equal(wide.weights, other.weights)


@pytest.mark.parametrize(
    ("layers", "deviation"),
    [
        ("[conv]\nfilters=500\nsize=3\nactivation=relu\n", (2 / 27) ** 0.5),
        ("[conv]\nfilters=500\nsize=3\nactivation=linear\n", (1 / 27) ** 0.5),
        ("[conn]\noutput=500\nactivation=leaky\n", (2 / 48) ** 0.5),
        ("[local]\nfilters=50\nsize=3\nactivation=relu\n", (2 / 27) ** 0.5),
    ],
)
def test_deviation_follows_the_fan_in(tmp_path: Path, layers: str, deviation: float) -> None:
    layer = layer_of(network_of(tmp_path, layers), 0)
    assert layer.weights.dtype == np.float32
    assert float(layer.weights.std()) == pytest.approx(deviation, rel=0.05)
    assert float(np.abs(layer.biases).max()) < 0.5


def test_statistics_are_near_their_neutral_values(tmp_path: Path) -> None:
    layer = layer_of(network_of(tmp_path, "[conv]\nfilters=300\nbatch_normalize=1\n"), 0)
    assert layer.scales is not None and layer.mean is not None and layer.variance is not None
    assert float(layer.scales.mean()) == pytest.approx(1, abs=0.05)
    assert float(layer.mean.mean()) == pytest.approx(0, abs=0.05)
    assert layer.variance.min() >= 0.8 and layer.variance.max() <= 1.25
    assert all(array.dtype == np.float32 for array in (layer.scales, layer.mean, layer.variance, layer.biases))


def test_thirty_layers_deep_the_signal_is_alive(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[conn]\noutput=256\nactivation=relu\n" * 30)
    signal = np.random.default_rng(0).random((16, 48), dtype=np.float32)
    for layer in random_weights(network, seed=7).layers:
        assert layer is not None
        signal = np.maximum(signal @ layer.weights.T + layer.biases, 0)
    assert 0.05 < float(signal.std()) < 20


def test_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed -1"):
        random_weights(network_of(tmp_path, "[conn]\n"), seed=-1)
