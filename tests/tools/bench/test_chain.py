"""Networks as chains for other engines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.errors import UnsupportedLayerError
from tools.bench.chain import borders, chain_of

NetworkOf = Callable[..., Network]

NET = "[net]\nheight=9\nwidth=12\nchannels=4\n\n"


def test_links(network_of: NetworkOf) -> None:
    network = network_of(batch=3)
    chain = chain_of(network, random_weights(network, seed=0))
    kinds = (Convolutional, MaxPool, Convolutional, MaxPool, Connected, Softmax)
    assert tuple(type(layer) for layer, _ in chain.links) == kinds
    assert chain.input_shape == (3, 4, 9, 12)
    first, pool, _, last_pool = (layer for layer, _ in chain.links[:4])
    assert isinstance(first, Convolutional)
    assert (first.groups, first.padding, first.stride, first.activation) == (2, 1, 1, "leaky")
    values = chain.links[0][1]
    assert values is not None
    assert values.weights.shape == (6, 2, 3, 3)
    # darknet pads 2x2 windows by one pixel in total, behind the image: 9 rows become 5, 12 columns stay 6.
    assert isinstance(pool, MaxPool)
    assert (pool.size, pool.stride, borders(pool)) == (2, 2, (0, 1, 0))
    # 3x3 windows of stride 1 on 3x3 planes: a border of one on every side.
    assert isinstance(last_pool, MaxPool)
    assert (last_pool.size, last_pool.stride, borders(last_pool)) == (3, 1, (1, 1, 1))


def test_batch_normalization_is_folded(network_of: NetworkOf) -> None:
    network = network_of()
    weights = random_weights(network, seed=0)
    values, (_, folded) = weights.layers[0], chain_of(network, weights).links[0]
    assert values is not None
    assert values.scales is not None
    assert values.variance is not None
    assert folded is not None
    factor = values.scales / np.sqrt(values.variance + 1e-5)
    np.testing.assert_allclose(folded.weights, values.weights * factor[:, None, None, None], rtol=1e-5)


def test_average_pool(network_of: NetworkOf) -> None:
    network = network_of(NET + "[avgpool]\n")
    ((layer, values),) = chain_of(network, random_weights(network, seed=0)).links
    assert isinstance(layer, AvgPool)
    assert values is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[avgpool]\n\n[softmax]\n\n[route]\nlayers=-1\n", r"layer 2 \[route\] cannot be handed to other engines"),
        ("[convolutional]\nfilters=2\nsize=1\nactivation=mish\n", "has activation mish"),
        ("[avgpool]\n\n[softmax]\ntemperature=2\n", r"layer 1 \[softmax\] cannot be handed"),
        (
            "[avgpool]\n\n[convolutional]\nfilters=4\nsize=1\nactivation=relu\n\n[route]\nlayers=-2\n",
            "does not follow the layer before",
        ),
    ],
)
def test_no_chain(network_of: NetworkOf, text: str, message: str) -> None:
    network = network_of(NET + text)
    with pytest.raises(UnsupportedLayerError, match=message):
        chain_of(network, random_weights(network, seed=0))
