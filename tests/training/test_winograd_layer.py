"""Convolutions in the Winograd domain: equal to conv2d at U = G g G^T, masks held, weights in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from torch.nn import functional

from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import unit_matrix
from clprune.data import load_data
from clprune.errors import FileError, UsageError
from clprune.pruning.registry import get_method
from clprune.pruning.settings import PruneSettings
from clprune.pruning.winograd import sensitivities, to_winograd_domain
from clprune.training import NetworkModule, Recipe, evaluate, load_module, prune_and_retrain, store_weights, train
from clprune.training.loop import make_optimiser
from clprune.training.winograd_layer import WinogradConvolution, winograd_conv2d
from clprune.unit import Unit
from clprune.winograd.transforms import transform_filters, transform_matrices
from tests.training.networks import network_of

RECIPE = Recipe(epochs=2, batch=16, learning_rate=0.02, seed=1)


def transforms_of(tile: int) -> dict[str, torch.Tensor]:
    transforms = transform_matrices(tile)
    sides = {"input_transform": transforms.input_array, "output_transform": transforms.output_array}
    return {name: torch.from_numpy(np.kron(side, side)) for name, side in sides.items()}


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(("height", "width", "padding"), [(1, 1, 1), (5, 7, 1), (13, 4, 0), (3, 31, 2), (6, 6, 0)])
def test_it_is_the_convolution(tile: int, height: int, width: int, padding: int) -> None:
    random = np.random.default_rng(0)
    kernels = random.standard_normal((5, 3, 3, 3))
    x = torch.from_numpy(random.standard_normal((2, 3, height, width))).requires_grad_()
    g = torch.from_numpy(kernels).requires_grad_()
    u = torch.from_numpy(transform_filters(kernels, tile).reshape(-1, 5, 3)).requires_grad_()
    found = winograd_conv2d(x, u, padding=padding, **transforms_of(tile))
    expected = functional.conv2d(x, g, padding=padding)
    assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    weight = torch.from_numpy(random.standard_normal(expected.shape))
    (dx,), (dx_expected,) = (torch.autograd.grad((y * weight).sum(), [x], retain_graph=True) for y in (found, expected))
    assert_allclose(dx.numpy(), dx_expected.numpy(), rtol=1e-9, atol=1e-9)
    # U = G g G^T: the kernel's gradient is U's, taken back through G
    (du,), (dg,) = torch.autograd.grad((found * weight).sum(), [u]), torch.autograd.grad((expected * weight).sum(), [g])
    side = transform_matrices(tile).filter_array
    back = np.einsum("ia,ijoc,jb->ocab", side, du.numpy().reshape(tile + 2, tile + 2, 5, 3), side)
    assert_allclose(back, dg.numpy(), rtol=1e-9, atol=1e-9)


def test_gradients_of_any_u() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    u = torch.randn(16, 3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    transforms = transforms_of(2)
    assert torch.autograd.gradcheck(lambda x, u: winograd_conv2d(x, u, padding=1, **transforms), (x, u))


def test_each_matrix_descends_by_its_sensitivity(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    layer = WinogradConvolution(network.layers[1], winograd=4)  # type: ignore[arg-type]
    seen = {}
    layer.weights.register_hook(lambda gradient: seen.update(scaled=gradient))
    x = torch.randn(4, 6, 8, 8)
    layer(x).square().sum().backward()
    plain = layer.weights.detach().clone().requires_grad_()
    transforms = {name: values.float() for name, values in transforms_of(4).items()}
    y = winograd_conv2d(x, plain, padding=1, **transforms)
    (true,) = torch.autograd.grad(layer.finish(y).square().sum(), [plain])
    factors = sensitivities(4).reshape(-1, 1, 1) ** -2
    assert_allclose(seen["scaled"].numpy(), true.numpy() * factors, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("tile", [2, 4])
def test_a_network_computes_the_same_in_both_domains(tmp_path: Path, tile: int) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=3)
    there = to_winograd_domain(network, weights, {0: tile, 1: tile})
    images = torch.rand(3, 3, 8, 8)
    spatial, winograd = (load_module(network, values).eval() for values in (weights, there))
    assert isinstance(winograd.layers[0], WinogradConvolution) and isinstance(winograd.layers[1], WinogradConvolution)
    winograd.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        assert_allclose(winograd(images).numpy(), spatial(images).numpy(), rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            reduced = winograd(images).float().numpy()
    assert_allclose(reduced, spatial(images).detach().numpy(), rtol=0.1, atol=0.1)


def test_weights_go_in_and_come_out_unchanged(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    weights = to_winograd_domain(network, random_weights(network, seed=9), {1: 4})
    module = load_module(network, weights)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stored = store_weights(module)
    for before, after in zip(weights.layers, stored.layers, strict=True):
        if before is not None and after is not None:
            assert after.winograd == before.winograd
            assert_array_equal(after.weights, before.weights)
            assert after.weights.flags.c_contiguous
    assert stored.layers[1] is not None and stored.layers[1].weights.shape == (6, 6, 10, 6)


def test_without_weights_u_is_a_random_kernels(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    module = NetworkModule(network, winograd={1: 2})
    values = store_weights(module).layers[1]
    assert values is not None and values.winograd == 2
    # rows 0 and 3 of G are unit vectors, so that these are values of the kernel itself; row 1 + row 2 = rows 0 + 3
    side = transform_matrices(2).filter_array
    g = np.linalg.pinv(side)
    kernel = np.einsum("ai,ijoc,bj->ocab", g, values.weights.astype(np.float64), g)
    assert_allclose(transform_filters(kernel, 2), values.weights, atol=1e-5)
    with pytest.raises(UsageError, match=r"layer 2 \[maxpool\]"):
        NetworkModule(network, winograd={2: 2})


@pytest.mark.parametrize(("method", "optimiser"), [("wsp", "sgd"), ("bwsp", "adamw"), ("abwsp", "sgd")])
def test_masks_hold_and_what_stays_is_trained(tmp_path: Path, method: str, optimiser: str) -> None:
    network = network_of(tmp_path)
    weights = random_weights(network, seed=0)
    data = load_data("synthetic", split="train", height=8, width=8, count=48)
    settings = PruneSettings(
        method=method,
        sparsity=0.6,
        options=get_method(method).options(winograd=4),
        unit_for_layer=lambda layer: Unit(rows=4),
    )
    recipe = replace(RECIPE, optimiser=optimiser, learning_rate=0.01)  # type: ignore[arg-type]
    report = prune_and_retrain(network, weights, settings, data=data, recipe=recipe, steps=2, validation=data)
    trained = report.weights
    values, dense = trained.layers[1], to_winograd_domain(network, weights, {1: 4}).layers[1]
    assert values is not None and dense is not None and values.winograd == 4
    mask, matrix = report.masks[1], unit_matrix(values)
    assert_array_equal(matrix[~mask], 0)
    assert (matrix[mask] != unit_matrix(dense)[mask]).all()
    assert mask.mean() == pytest.approx(0.4, abs=0.08)
    again = evaluate(load_module(network, trained), data).accuracy
    assert again == report.accuracy_after


def test_the_optimiser_never_sees_what_was_removed(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    data = load_data("synthetic", split="train", height=8, width=8, count=32)
    weights = to_winograd_domain(network, random_weights(network, seed=0), {1: 2})
    mask = np.ones((160, 6), bool)
    mask[30:90, 2:] = False
    checkpoint = tmp_path / "run.checkpoint"
    trained = train(network, data, RECIPE, weights=weights, masks={1: mask}, checkpoint=checkpoint).weights
    payload = checkpoint.read_bytes()
    state = torch.load(checkpoint_payload(payload), weights_only=True)
    moments = [slots["momentum_buffer"] for slots in state["optimiser"]["state"].values()]
    (momentum,) = (moment for moment in moments if moment.shape == (16, 10, 6))
    assert_array_equal(momentum.reshape(160, 6)[~torch.from_numpy(mask)], 0)
    assert (momentum.reshape(160, 6)[torch.from_numpy(mask)] != 0).any()
    values = trained.layers[1]
    assert values is not None
    assert_array_equal(unit_matrix(values)[~mask], 0)


def checkpoint_payload(content: bytes) -> object:
    import io

    return io.BytesIO(content[content.index(b"PK") :])


def test_a_resumed_run_ends_alike(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    data = load_data("synthetic", split="train", height=8, width=8, count=32)
    weights = to_winograd_domain(network, random_weights(network, seed=0), {1: 4})
    whole = train(network, data, RECIPE, weights=weights).weights
    path = tmp_path / "run.checkpoint"

    class StopError(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "part", 0) == 2:
            raise StopError

    with pytest.raises(StopError):
        train(network, data, RECIPE, weights=weights, checkpoint=path, report=stop)
    resumed = train(network, data, RECIPE, weights=weights, checkpoint=path).weights
    for one, other in zip(whole.layers, resumed.layers, strict=True):
        if one is not None and other is not None:
            assert_array_equal(one.weights, other.weights)
    with pytest.raises(FileError, match="another network"):
        slower = replace(RECIPE, winograd_learning_rate=0.5)
        train(network, data, slower, weights=weights, checkpoint=path)


def test_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    module = NetworkModule(network, winograd={1: 4})
    recipe = replace(RECIPE, winograd_learning_rate=0.25)
    groups = make_optimiser(module, recipe).param_groups
    assert [group["learning_rate_factor"] for group in groups] == [1.0, 1.0, 0.25]
    assert [parameter.shape for parameter in groups[2]["params"]] == [(36, 10, 6)]
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))
    with pytest.raises(UsageError, match="winograd_learning_rate 0: expected more than 0"):
        replace(RECIPE, winograd_learning_rate=0)


def test_a_mask_of_the_wrong_domain_is_refused(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    data = load_data("synthetic", split="train", height=8, width=8, count=32)
    weights = to_winograd_domain(network, random_weights(network, seed=0), {1: 4})
    with pytest.raises(UsageError, match=r"a mask of \(10, 54\) for layer 1: expected one of \(360, 6\)"):
        train(network, data, RECIPE, weights=weights, masks={1: np.ones((10, 54), bool)})
