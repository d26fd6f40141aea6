"""Small networks for the tests of training."""

from __future__ import annotations

from pathlib import Path

from clprune.darknet.network import Network, load_network

MICRO = """
[net]
height=8
width=8
channels=3

[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=relu

[convolutional]
batch_normalize=1
filters=10
size=3
pad=1
activation=relu

[maxpool]
size=2
stride=2

[connected]
output=17
activation=relu

[dropout]
probability=.5

[connected]
output=10
activation=linear

[softmax]
"""


def network_of(folder: Path, text: str = MICRO) -> Network:
    """The network that a cfg of this text describes."""
    path = folder / "network.cfg"
    path.write_text(text)
    return load_network(path)
