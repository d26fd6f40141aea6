"""A small network of everything that other engines are given, with weights and the right answer by hand's rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clprune.darknet.network import Network, load_network

CHAIN = """\
[net]
height=9
width=12
channels=4

[convolutional]
filters=6
size=3
pad=1
groups=2
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

[maxpool]
size=3
stride=1

[dropout]

[connected]
output=7
activation=linear

[softmax]

[cost]
"""


@pytest.fixture
def network_of(tmp_path: Path) -> Callable[..., Network]:
    """The network of a cfg's text."""

    def load(text: str = CHAIN, *, batch: int = 1) -> Network:
        path = tmp_path / "network.cfg"
        path.write_text(text)
        return load_network(path, batch=batch)

    return load
