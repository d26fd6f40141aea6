"""The float64 yardstick on layers in the Winograd domain: against direct convolution, and against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from clprune.darknet.values import Weights
from clprune.plan.plan import make_plan
from clprune.pruning.prune import prune_network
from clprune.pruning.settings import PruneSettings
from clprune.pruning.winograd import WinogradOptions, to_winograd_domain
from clprune.runner.reference import FloatArray, reference_outputs
from clprune.unit import Unit
from tests.imaginary import imaginary_device
from tests.pruning.networks import load

CFG = """
[net]
height=9
width=6
channels=3
[convolutional]
filters=5
size=3
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=7
size=3
pad=1
activation=relu
[maxpool]
size=2
stride=2
[convolutional]
filters=4
size=3
activation=tanh
[connected]
output=3
activation=linear
"""


def answer(folder: Path, weights: Weights, x: FloatArray) -> FloatArray:
    network, _ = load(folder, CFG)
    plan = make_plan(network, imaginary_device())
    return reference_outputs(plan, weights, x)[plan.host_outputs[0]].reshape(-1)


@pytest.fixture
def x() -> FloatArray:
    return np.random.default_rng(2).standard_normal((1, 3, 9, 6))


@pytest.mark.parametrize("tile", [2, 4])
def test_both_domains_agree(tmp_path: Path, x: FloatArray, tile: int) -> None:
    network, weights = load(tmp_path, CFG)
    there = to_winograd_domain(network, weights, {0: tile, 1: tile, 3: tile})
    # U is float32, so that the reference's float64 sees kernels that are rounded
    assert_allclose(answer(tmp_path, there, x), answer(tmp_path, weights, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tile", [2, 4])
def test_pruned_weights_agree_with_pytorch(tmp_path: Path, x: FloatArray, tile: int) -> None:
    torch = pytest.importorskip("torch")
    from clprune.training import load_module

    network, weights = load(tmp_path, CFG)
    settings = PruneSettings(
        method="wsp",
        sparsity=0.5,
        unit_for_layer=lambda layer: Unit(rows=2),
        first_dense=False,
        options=WinogradOptions(winograd=tile),
    )
    pruned = prune_network(network, weights, settings)
    assert sorted(pruned.masks) == [0, 1, 3]
    with torch.no_grad():
        expected = load_module(network, pruned.weights).eval()(torch.from_numpy(x.astype(np.float32)))
    assert_allclose(answer(tmp_path, pruned.weights, x), expected.numpy().reshape(-1), rtol=1e-4, atol=1e-5)
