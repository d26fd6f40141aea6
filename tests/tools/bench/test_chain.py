"""Networks as chains for other engines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.errors import UnsupportedLayerError
from tools.bench.chain import (
    AveragePoolLink,
    ConnectedLink,
    ConvolutionLink,
    MaxPoolLink,
    SoftmaxLink,
    chain_of,
)

NetworkOf = Callable[..., Network]

NET = "[net]\nheight=9\nwidth=12\nchannels=4\n\n"


def test_links(network_of: NetworkOf) -> None:
    network = network_of(batch=3)
    chain = chain_of(network, random_weights(network, seed=0))
    kinds = (ConvolutionLink, MaxPoolLink, ConvolutionLink, MaxPoolLink, ConnectedLink, SoftmaxLink)
    assert tuple(type(link) for link in chain.links) == kinds
    assert chain.input_shape == (3, 4, 9, 12)
    assert chain.outputs == 7
    first, pool, second = chain.links[:3]
    assert isinstance(first, ConvolutionLink)
    assert first.weights.shape == (6, 2, 3, 3)
    assert (first.groups, first.padding, first.stride, first.activation) == (2, 1, 1, "leaky")
    assert isinstance(second, ConvolutionLink)
    assert (second.groups, second.stride, second.activation) == (1, 2, "relu")
    # darknet pads 2x2 windows by one pixel in total, behind the image: 9 rows become 5, 12 columns stay 6.
    assert pool == MaxPoolLink(size=2, stride=2, before=0, below=1, right=0)
    # 3x3 windows of stride 1 on 3x3 planes: a border of one on every side.
    assert chain.links[3] == MaxPoolLink(size=3, stride=1, before=1, below=1, right=1)


def test_batch_normalization_is_folded(network_of: NetworkOf) -> None:
    network = network_of()
    weights = random_weights(network, seed=0)
    values, link = weights.layers[0], chain_of(network, weights).links[0]
    assert values is not None
    assert values.scales is not None
    assert values.variance is not None
    assert isinstance(link, ConvolutionLink)
    factor = values.scales / np.sqrt(values.variance + 1e-5)
    np.testing.assert_allclose(link.weights, values.weights * factor[:, None, None, None], rtol=1e-5)


def test_average_pool(network_of: NetworkOf) -> None:
    network = network_of(NET + "[avgpool]\n")
    assert chain_of(network, random_weights(network, seed=0)).links == (AveragePoolLink(),)


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
