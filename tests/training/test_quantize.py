"""Quantization-aware training: what the forward pass computes with, what learns, what stays zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")

from clprune.darknet.fold import fold_network  # noqa: E402
from clprune.darknet.network import Network  # noqa: E402
from clprune.darknet.quantize import QuantizeSettings, Scheme  # noqa: E402
from clprune.darknet.random_weights import random_weights  # noqa: E402
from clprune.darknet.rewrite import fold_cfg  # noqa: E402
from clprune.darknet.values import Weights  # noqa: E402
from clprune.data import load_data  # noqa: E402
from clprune.errors import FileError, UsageError  # noqa: E402
from clprune.pruning.network import apply_masks  # noqa: E402
from clprune.quantization.coding import CodebookCoding, LinearCoding  # noqa: E402
from clprune.quantization.linear import linear_coding, quantize  # noqa: E402
from clprune.training import Recipe, evaluate, load_module, train  # noqa: E402
from clprune.training.quantize import HeldCodes, Quantization  # noqa: E402
from clprune.training.rounding import round_input, round_weights  # noqa: E402
from tests.training.networks import MICRO, network_of  # noqa: E402

RECIPE = Recipe(epochs=8, learning_rate=0.05, batch=32, label_smoothing=0.0)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """MICRO without batch normalization and dropout."""
    return network_of(tmp_path, fold_cfg(MICRO).replace("probability=.5", "probability=0"))


def pruned(network: Network) -> tuple[Weights, dict[int, np.ndarray]]:
    """Random weights of which the smaller half is gone, and the masks."""
    weights = random_weights(network, seed=5)
    masks = {}
    for index in (1, 3, 5):
        values = weights.layers[index]
        assert values is not None
        matrix = np.abs(values.weights.reshape(len(values.weights), -1))
        masks[index] = matrix > np.median(matrix)
    return apply_masks(weights, masks), masks


def test_rounded_weights_are_the_decoded_codes() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    weights[2] = 0
    tensor = torch.from_numpy(weights.copy()).requires_grad_()
    rounded = round_weights(tensor)
    assert np.array_equal(rounded.detach().numpy(), linear_coding(weights, name="layer 1").decode())
    rounded.sum().backward()
    assert np.array_equal(tensor.grad.numpy(), np.ones_like(weights))


def test_rounded_input_saturates_without_gradient() -> None:
    values = np.array([0.5, -0.7, 100.0, -100.0], np.float32)
    x = torch.from_numpy(values.copy()).requires_grad_()
    rounded = round_input(x, scale=0.25)
    assert np.array_equal(rounded.detach().numpy(), quantize(values, scale=0.25) * np.float32(0.25))
    rounded.sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("scheme", "bits", "scales"),
    [("linear", 8, None), ("linear", 8, {0: 1 / 127, 1: 0.05, 3: 0.05}), ("codebook", 4, None), ("codebook", 8, None)],
)
def test_training_lowers_the_loss_and_keeps_zeros(
    network: Network, scheme: Scheme, bits: int, scales: dict[int, float] | None
) -> None:
    weights, masks = pruned(network)
    data = load_data("digits", split="train", height=8, width=8, count=256)
    quantization = Quantization(settings=QuantizeSettings(scheme=scheme, bits=bits), activation_scales=scales)
    result = train(network, data, RECIPE, weights=weights, masks=masks, quantization=quantization)
    assert result.losses[-1] < 0.95 * result.losses[0]
    for index, mask in masks.items():
        values = result.weights.layers[index]
        assert values is not None
        assert isinstance(values.coding, LinearCoding | CodebookCoding)
        assert np.array_equal(values.weights, values.coding.decode())
        assert not values.weights.reshape(mask.shape)[~mask].any()
        assert values.coding.bits == bits
        if isinstance(values.coding, LinearCoding):
            assert values.coding.activation_scale == (scales or {}).get(index)


def test_weights_of_one_entry_learn_together(network: Network) -> None:
    weights, _ = pruned(network)
    module = load_module(network, weights)
    codes = HeldCodes(module, Quantization(settings=QuantizeSettings(scheme="codebook", bits=4)))
    layer = module.layers[1]
    before = layer.weights.detach().clone()
    layer.weights.grad = torch.from_numpy(
        np.random.default_rng(0).standard_normal(tuple(before.shape)).astype(np.float32)
    )
    gradient = layer.weights.grad.clone()
    codes.share_gradients()
    for value in before.unique():
        members = before == value
        expected = 0.0 if value == 0 else gradient[members].double().mean()
        assert layer.weights.grad[members].numpy() == pytest.approx(float(expected), abs=1e-6)


def test_what_was_trained_is_what_the_codes_say(network: Network) -> None:
    data = load_data("digits", split="train", height=8, width=8, count=256)
    quantization = Quantization(settings=QuantizeSettings(scheme="codebook", bits=4))
    weights, masks = pruned(network)
    result = train(network, data, RECIPE, weights=weights, masks=masks, quantization=quantization, validation=data)
    again = evaluate(load_module(network, result.weights), data)
    assert again.accuracy == result.accuracies[-1]


def test_checkpoint_of_another_quantization_is_refused(network: Network, tmp_path: Path) -> None:
    data = load_data("digits", split="train", height=8, width=8, count=64)
    path = tmp_path / "state"
    short = Recipe(epochs=1, learning_rate=0.01, batch=32)
    first, second = (Quantization(settings=QuantizeSettings(scheme="codebook", bits=bits)) for bits in (4, 8))
    weights, _ = pruned(network)
    result = train(network, data, short, weights=weights, quantization=first, checkpoint=path)
    resumed = train(network, data, short, weights=weights, quantization=first, checkpoint=path)
    for one, other in zip(result.weights.layers, resumed.weights.layers, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert np.array_equal(one.weights, other.weights)
    with pytest.raises(FileError, match="belongs to a run with another network"):
        train(network, data, short, weights=weights, quantization=second, checkpoint=path)


def test_batch_normalization_is_to_be_folded_first(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    module = load_module(network, random_weights(network, seed=0))
    with pytest.raises(UsageError, match="has batch normalization: fold it first"):
        HeldCodes(module, Quantization(settings=QuantizeSettings(scheme="linear", bits=8)))
    folded, weights = fold_network(network, random_weights(network, seed=0))
    HeldCodes(load_module(folded, weights), Quantization(settings=QuantizeSettings(scheme="linear", bits=8)))


def test_activations_need_linear_codes() -> None:
    with pytest.raises(UsageError, match="activations with scheme codebook"):
        Quantization(settings=QuantizeSettings(scheme="codebook", bits=4), activation_scales={0: 1.0})
