"""Networks for the tests of running them, and a session that leaves tuning aside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune.darknet.network import Network, load_network
from clprune.opencl import Session
from clprune.runner import Runner

CHAIN = """\
[net]
height=9
width=11
channels=3

[convolutional]
filters=5
size=3
pad=1
batch_normalize=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=8
size=3
stride=2
pad=1
activation=relu

[connected]
output=7
activation=linear

[dropout]

[softmax]

[cost]
"""


@pytest.fixture(autouse=True)
def always_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks of the tests are small; they share buffers as large ones do."""
    monkeypatch.setattr("clprune.runner.memory.SEPARATE_BYTES", 0)


@pytest.fixture
def network_of(tmp_path: Path) -> Callable[..., Network]:
    """The network of a cfg's text."""

    def load(text: str = CHAIN, *, batch: int = 1) -> Network:
        path = tmp_path / "network.cfg"
        path.write_text(text)
        return load_network(path, batch=batch)

    return load


@pytest.fixture
def runner_of(device_context: Session) -> Callable[..., Runner]:
    """A Runner on the open device with the tiles that it has without tuning."""

    def make(network: Network, weights: Any, **options: Any) -> Runner:
        return Runner(network, weights, session=device_context, lookup=lambda *_: None, **options)

    return make


def images(network: Network, count: int, *, seed: int = 0) -> np.ndarray:
    """Seeded float32 `[count, C, H, W]`."""
    shape = network.input
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, shape.channels, shape.height, shape.width), np.float32)
