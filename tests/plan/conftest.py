"""Networks for the tests of plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clprune.darknet.network import Network, load_network

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
    monkeypatch.setattr("clprune.plan.memory.SEPARATE_BYTES", 0)


@pytest.fixture
def network_of(tmp_path: Path) -> Callable[..., Network]:
    """The network of a cfg's text."""

    def load(text: str = CHAIN, *, batch: int = 1) -> Network:
        path = tmp_path / "network.cfg"
        path.write_text(text)
        return load_network(path, batch=batch)

    return load
