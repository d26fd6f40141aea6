"""A network in less than float32 on a device whose matrix unit is emulated: from the plan to the answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from clprune.algorithms import Algorithms
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_images, random_weights
from clprune.kernels.conv_matrix import CONV_MATRIX, ConvMatrixKernel
from clprune.opencl import open_device
from clprune.precision import PRECISION_ERRORS
from clprune.runner import Runner
from clprune.runner.compare import verify_model

NETWORK = """\
[net]
height=20
width=24
channels=3

[convolutional]
filters=20
size=3
pad=1
activation=relu

[convolutional]
filters=33
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=16
size=1
stride=1
activation=linear
"""


@pytest.mark.parametrize(
    ("architecture", "precision"), [("sm_80", "tf32"), ("gfx90a", "float16"), ("gfx1100", "bfloat16")]
)
def test_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, precision: str) -> None:
    monkeypatch.setattr(ConvMatrixKernel, "build_options", lambda *_: ())
    path = tmp_path / "net.cfg"
    path.write_text(NETWORK, encoding="utf-8")
    network = load_network(path)
    weights, x = random_weights(network, seed=1), random_images(network, seed=1)
    algorithms = Algorithms(precision=precision)
    with open_device(None) as session:
        monkeypatch.setattr(session, "info", dataclasses.replace(session.info, architecture=architecture))
        errors = verify_model(session, network, weights, x, algorithms=algorithms)
        with Runner(network, weights, session=session, algorithms=algorithms) as runner:
            kernels = [step.kernel for step in runner.bound.plan.steps]
            coarse = runner(x)
        with Runner(network, weights, session=session) as runner:
            exact = runner(x)
    assert all(error.is_within for error in errors)
    assert kernels.count(CONV_MATRIX) >= 2  # of the smallest layer vectors of channels come first on a CPU
    assert 0 < np.abs(coarse - exact).max() / np.abs(exact).max() < 3 * PRECISION_ERRORS[precision]
