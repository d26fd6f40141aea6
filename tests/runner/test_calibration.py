"""Scales of activations read from a device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.darknet.quantize import QuantizeSettings, quantize_network
from clprune.darknet.random_weights import random_weights
from clprune.errors import UsageError
from clprune.runner import Runner
from clprune.runner.calibration import activation_scales
from clprune.runner.reference import reference_outputs

Make = Callable[..., Runner]
Load = Callable[..., Network]

INT8 = QuantizeSettings(scheme="linear", bits=8)
CFG = """\
[net]
height=7
width=5
channels=3
[convolutional]
filters=6
size=3
pad=1
activation=relu
[maxpool]
size=2
stride=2
[connected]
output=4
activation=linear
"""


@pytest.mark.parametrize("batch", [1, 2])
def test_scales_cover_the_layers_inputs(runner_of: Make, network_of: Load, batch: int) -> None:
    network = network_of(CFG, batch=batch)
    weights = random_weights(network, seed=1)
    images = np.random.default_rng(0).random((3, 3, 7, 5), dtype=np.float32)
    with runner_of(network, weights, keep_tensors=True) as runner:
        scales = activation_scales(runner, [images[:2], images[2:]], share=1.0)
    single = network_of(CFG)
    with runner_of(single, weights, keep_tensors=True) as runner:
        plan = runner.bound.plan
    connected = next(step for step in plan.steps if step.layer is single.layers[2])
    largest = max(float(reference_outputs(plan, weights, x[None])[connected.inputs[0]].max()) for x in images)
    assert scales[0] == pytest.approx(float(images.max()) / 127)
    assert scales[2] == pytest.approx(largest / 127, rel=1e-5)
    assert list(scales) == [0, 2]


def test_refusals(runner_of: Make, network_of: Load) -> None:
    network = network_of(CFG)
    weights = random_weights(network, seed=1)
    with runner_of(network, weights, keep_tensors=True) as runner:
        with pytest.raises(UsageError, match="no calibration images"):
            activation_scales(runner, [])
        with pytest.raises(UsageError, match=r"layer 0 \[convolutional\]: its input holds nan"):
            activation_scales(runner, [np.full((1, 3, 7, 5), np.nan, np.float32)])
    with runner_of(network, weights) as runner, pytest.raises(UsageError, match="keep_tensors=True"):
        activation_scales(runner, [])


@pytest.mark.parametrize("batch", [1, 3])
def test_layers_with_scales_run_in_integers(runner_of: Make, network_of: Load, batch: int) -> None:
    """Convolution and fully connected layer side by side, as their reference says, near what float32 gives."""
    network = network_of(CFG, batch=batch)
    weights = random_weights(network, seed=1)
    x = np.random.default_rng(0).random((batch, 3, 7, 5), dtype=np.float32)
    with runner_of(network, weights, keep_tensors=True) as runner:
        scales, exact = activation_scales(runner, [x], share=1.0), np.array(runner(x))
    coded = quantize_network(network, weights, INT8, activation_scales=scales)
    with runner_of(network, coded, algorithms=Algorithms(names=("direct",))) as runner:
        plan = runner.bound.plan
        assert {"conv_int8", "connected_int8"} <= {step.kernel.name for step in plan.steps}
        got = np.array(runner(x)).reshape(batch, -1)
    wanted = reference_outputs(plan, coded, x)[plan.steps[-1].output].reshape(batch, -1)
    assert np.allclose(got, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    assert np.allclose(got, exact.reshape(batch, -1), atol=0.05 * np.abs(exact).max())
