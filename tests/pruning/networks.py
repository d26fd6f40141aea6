"""Small networks with every way that channels take: carriers, planes of a connected layer, routes, groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights

#: Layers: 0 conv, 1 maxpool, 2 conv, 3 batchnorm, 4 activation, 5 upsample, 6 conv, 7 dropout, 8 connected,
#: 9 connected, 10 connected, 11 softmax, 12 cost
CHAIN = """\
# a chain
[net]
height=8
width=6
channels=3

[convolutional]
batch_normalize=1
filters = 9   # nine of them
size=3
pad=1
activation=relu

[maxpool]
size=2
stride=2

[conv]
filters=12
size=3
pad=1
activation=leaky

[batchnorm]
[activation]
activation=relu
[upsample]
stride=2

[convolutional]
batch_normalize=1
filters=10
size=3
stride=2
pad=1
activation=relu

[dropout]
probability=.5
[connected]
output=14
activation=relu
[connected]
batch_normalize=1
;output=3
output= 11
activation=tanh
[connected]
output=5
activation=linear
[softmax]
[cost]
"""

#: Layers: 0 conv, 1 conv, 2 conv (added to 0), 3 shortcut, 4 conv, 5 conv, 6 route of 5 and 4, 7 conv,
#: 8 conv in groups, 9 conv, 10 avgpool
BRANCHES = """\
[net]
height=7
width=5
channels=4
[convolutional]
filters=8
size=3
pad=1
activation=relu
[convolutional]
filters=12
size=1
activation=relu
[convolutional]
filters=8
size=3
pad=1
activation=linear
[shortcut]
from=-3
activation=relu
[convolutional]
filters=6
size=1
activation=relu
[convolutional]
filters=10
size=3
pad=1
activation=relu
[route]
layers=-1,-2
[convolutional]
filters=6
size=3
pad=1
activation=relu
[convolutional]
filters=6
groups=3
size=3
pad=1
activation=relu
[convolutional]
filters=5
size=1
activation=linear
[avgpool]
"""


#: Layers: 0 conv, 1 depthwise, 2 conv, 3 activation, 4 conv, 5 depthwise, 6 conv, 7 shortcut (to 2), 8 conv,
#: 9 depthwise, 10 conv, 11 shortcut (to 7), 12 avgpool, 13 connected
INVERTED_RESIDUALS = """\
[net]
height=7
width=6
channels=3
[convolutional]
filters=10
size=3
pad=1
activation=relu
[convolutional]
filters=10
groups=10
batch_normalize=1
size=3
pad=1
activation=relu
[convolutional]
filters=8
size=1
activation=linear
[activation]
activation=relu
[convolutional]
filters=14
size=1
activation=relu
[convolutional]
filters=14
groups=14
size=3
pad=1
activation=relu
[convolutional]
batch_normalize=1
filters=8
size=1
activation=linear
[shortcut]
from=-5
activation=relu
[convolutional]
filters=12
size=1
activation=relu
[convolutional]
filters=12
groups=12
size=3
pad=1
activation=relu
[convolutional]
filters=8
size=1
activation=linear
[shortcut]
from=-4
activation=linear
[avgpool]
[connected]
output=5
activation=linear
"""

#: Layers: 0 conv, 1 avgpool, 2 conv, 3 conv, 4 scale_channels (of 0 by 3), 5 conv, 6 avgpool
SQUEEZED = """\
[net]
height=5
width=6
channels=3
[convolutional]
filters=8
size=3
pad=1
activation=relu
[avgpool]
[convolutional]
filters=4
size=1
activation=relu
[convolutional]
filters=8
size=1
activation=logistic
[scale_channels]
from=-4
activation=linear
[convolutional]
filters=5
size=1
activation=linear
[avgpool]
"""


def load(folder: Path, text: str, *, seed: int = 0) -> tuple[Network, Weights]:
    """The network of a cfg and seeded weights."""
    path = folder / "network.cfg"
    path.write_text(text)
    network = load_network(path)
    return network, random_weights(network, seed=seed)


def images(network: Network) -> NDArray[np.float32]:
    """Two seeded images."""
    shape = network.input
    return np.random.default_rng(7).standard_normal((2, shape.channels, shape.height, shape.width)).astype(np.float32)
