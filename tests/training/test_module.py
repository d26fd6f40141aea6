"""Torch modules against darknet's semantics, computed by hand in NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.darknet.activations import ACTIVATIONS
from clprune.darknet.activations import activate as reference_activate
from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.random_weights import random_weights
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.runner.reference import reference_answers
from clprune.training import NetworkModule, load_module, store_weights
from clprune.training.activations import activate
from tests.training.networks import network_of

NET = "[net]\nheight=5\nwidth=7\nchannels=2\n"


def run(module: NetworkModule, images: np.ndarray) -> np.ndarray:
    module.eval()
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()


def images_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def maximum_pool(image: np.ndarray, *, size: int, stride: int, padding: int) -> np.ndarray:
    """Darknet's rule, one window at a time."""
    channels, height, width = image.shape
    out_height = (height + padding - size) // stride + 1
    out_width = (width + padding - size) // stride + 1
    result = np.empty((channels, out_height, out_width), np.float32)
    for row in range(out_height):
        for column in range(out_width):
            top, left = row * stride - padding // 2, column * stride - padding // 2
            window = image[:, max(top, 0) : top + size, max(left, 0) : left + size]
            result[:, row, column] = window.max((1, 2))
    return result


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 1), (2, 2, 0), (2, 1, 1), (3, 2, 2), (3, 2, 0), (3, 3, 3)]
)
def test_pooling_pads_as_darknet_does(tmp_path: Path, size: int, stride: int, padding: int) -> None:
    network = network_of(tmp_path, NET + f"[maxpool]\nsize={size}\nstride={stride}\npadding={padding}\n")
    images = images_of(3, 2, 5, 7)
    expected = [maximum_pool(image, size=size, stride=stride, padding=padding) for image in images]
    found = run(NetworkModule(network), images)
    assert network.outputs == expected[0].size
    assert_array_equal(found, np.stack(expected).reshape(3, -1))


def test_a_pool_of_two_with_stride_one_looks_right_and_down(tmp_path: Path) -> None:
    network = network_of(tmp_path, "[net]\nheight=2\nwidth=2\nchannels=1\n[maxpool]\nsize=2\nstride=1\n")
    images = np.array([[[[-1, -2], [-3, -4]]]], np.float32)
    assert_array_equal(run(NetworkModule(network), images), [[-1, -2, -3, -4]])


def test_a_small_network_equals_its_folded_weights(tmp_path: Path) -> None:
    network = network_of(
        tmp_path,
        NET
        + "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=2\npad=1\ngroups=2\nactivation=leaky\n"
        + "[connected]\nbatch_normalize=1\noutput=3\nactivation=logistic\n[softmax]\n",
    )
    weights = random_weights(network, seed=4)
    folded = [fold_batch_norm(layer, weights.layers[index]) for index, layer in enumerate(network.layers[:2])]
    images = images_of(2, 2, 5, 7)
    padded = np.pad(images.astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    features = np.empty((2, 4, 3, 4))
    for filter_ in range(4):
        source = padded[:, filter_ // 2 : filter_ // 2 + 1]
        for row in range(3):
            for column in range(4):
                window = source[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
                total = (window * folded[0].weights[filter_]).sum((1, 2, 3))
                features[:, filter_, row, column] = total + folded[0].biases[filter_]
    features = reference_activate("leaky", features).reshape(2, -1)
    expected = reference_activate("logistic", features @ folded[1].weights.T.astype(np.float64) + folded[1].biases)
    assert_allclose(run(load_module(network, weights), images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
def test_signs_of_inputs_and_their_border(tmp_path: Path, dialect: str) -> None:
    layer = "[convolutional]\nxnor=1\nbatch_normalize=1\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    network = network_of(tmp_path, f"{NET}dialect={dialect}\n{layer}")
    weights, images = random_weights(network, seed=4), images_of(2, 2, 5, 7)
    (expected,) = reference_answers(replace(network, batch=2), weights, images)
    assert_allclose(run(load_module(network, weights), images), expected.reshape(2, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_their_references(name: str) -> None:
    values = np.concatenate([np.linspace(-6, 6, 97), [0.0, 30.0, -30.0]])
    found = activate(name, torch.from_numpy(values)).numpy()
    assert_allclose(found, reference_activate(name, values), rtol=1e-12, atol=1e-12)


def test_routes_shortcuts_and_upsampling(tmp_path: Path) -> None:
    network = network_of(
        tmp_path,
        NET
        + "[activation]\nactivation=linear\n[activation]\nactivation=relu\n"
        + "[shortcut]\nfrom=-2\nactivation=linear\nalpha=2\nbeta=3\n"
        + "[upsample]\nstride=2\nscale=.5\n[maxpool]\nsize=2\nstride=2\npadding=0\n[route]\nlayers=-1,0\n[avgpool]\n",
    )
    images = images_of(2, 2, 5, 7)
    summed = (2 * np.maximum(images, 0) + 3 * images) / 2
    expected = np.concatenate([summed, images], axis=1).mean((2, 3))
    assert_allclose(run(NetworkModule(network), images), expected, rtol=1e-5, atol=1e-6)


def test_a_shortcut_of_another_shape_adds_what_both_have(tmp_path: Path) -> None:
    network = network_of(
        tmp_path,
        "[net]\nheight=4\nwidth=4\nchannels=2\n[activation]\nactivation=linear\n"
        "[convolutional]\nfilters=3\nsize=2\nstride=2\nactivation=linear\n[shortcut]\nfrom=0\nactivation=linear\n",
    )
    module = load_module(network, random_weights(network, seed=0))
    images = images_of(1, 2, 4, 4)
    plain = NetworkModule(network_of(tmp_path, Path(network.path).read_text().partition("[shortcut]")[0]))
    plain.load_state_dict(module.state_dict())
    expected = run(plain, images).reshape(1, 3, 2, 2)
    expected[:, :2] += images[:, :, ::2, ::2]
    assert_allclose(run(module, images), expected.reshape(1, -1), rtol=1e-6)


def test_dropout_is_silent_in_evaluation_and_has_a_strength(tmp_path: Path) -> None:
    network = network_of(tmp_path, NET + "[dropout]\nprobability=.5\n")
    module = NetworkModule(network)
    images = images_of(4, 2, 5, 7)
    assert_array_equal(run(module, images), images.reshape(4, -1))
    module.train()
    dropped = module(torch.from_numpy(images))
    assert 0 < (dropped == 0).float().mean() < 1
    module.set_dropout_strength(0)
    assert_array_equal(module(torch.from_numpy(images)).numpy(), images.reshape(4, -1))


def test_weights_go_in_and_come_out_unchanged(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=9)
    module = load_module(network, weights)
    module.to(memory_format=torch.channels_last)
    stored = store_weights(module, seen=12)
    assert stored.seen == 12
    for before, after in zip(weights.layers, stored.layers, strict=True):
        assert (before is None) == (after is None)
        for name in ("weights", "biases", "scales", "mean", "variance"):
            expected, found = getattr(before, name, None), getattr(after, name, None)
            assert (expected is None) == (found is None)
            if expected is not None:
                assert_array_equal(found, expected)
                assert found.flags.c_contiguous


def test_layers_that_cannot_be_trained_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayerError, match=r"layer 1 \[convolutional\].*has the weights of another layer"):
        layers = "[convolutional]\nfilters=2\n[convolutional]\nfilters=2\nshare_index=0\n"
        NetworkModule(network_of(tmp_path, NET + layers))
    with pytest.raises(UnsupportedLayerError, match="softmax can be trained only at the end"):
        NetworkModule(network_of(tmp_path, NET + "[softmax]\n[connected]\noutput=3\n"))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=0)
    with pytest.raises(UsageError, match=r"layer 1 \[convolutional\] has no weights"):
        load_module(network, replace(weights, layers=(weights.layers[0], None, *weights.layers[2:])))


def test_a_softmax_of_each_place_is_not_trained_as_one_of_all(tmp_path: Path) -> None:
    network = network_of(tmp_path, f"{NET}[convolutional]\nfilters=4\nactivation=linear\n[softmax]\nspatial=1\n")
    load_module(network, random_weights(network, seed=0), answers=True)
    with pytest.raises(UnsupportedLayerError, match="only over one answer for the whole image"):
        load_module(network)
