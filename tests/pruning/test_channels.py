"""Where channels go, and the network that takes some of them or all in another order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from clprune.errors import UsageError
from clprune.pruning.channels import ChannelGroup, channel_groups, select_channels
from tests.pruning.networks import BRANCHES, CHAIN, INVERTED_RESIDUALS, images, load
from tests.random_networks import answers


def test_groups_of_a_chain(tmp_path: Path) -> None:
    network, _ = load(tmp_path, CHAIN)
    groups = channel_groups(network)
    assert {index: group.producers for index, group in groups.items() if group.obstacle is None} == {
        index: (index,) for index in (0, 2, 6, 8, 9)
    }
    assert groups[10].obstacle == "they reach layer 11 [softmax]"


def test_ties_and_obstacles(tmp_path: Path) -> None:
    network, _ = load(tmp_path, BRANCHES)
    groups = channel_groups(network)
    assert groups[0] == groups[2] == ChannelGroup(producers=(0, 2), obstacle=None)
    assert {index: group.obstacle for index, group in groups.items() if index not in (0, 2)} == {
        1: None,
        4: None,
        5: None,
        7: "layer 8 [convolutional] reads them in groups",
        8: "its channels lie in groups",
        9: "they are the network's answer, by way of layer 10 [avgpool]",
    }
    network, _ = load(tmp_path, INVERTED_RESIDUALS)
    groups = channel_groups(network)
    assert groups[2].producers == groups[6].producers == groups[10].producers == (2, 6, 10)
    assert groups[5].obstacle == "they go with those of layer 4"


def test_what_is_tied_in_part_stays(tmp_path: Path) -> None:
    convolution = "[convolutional]\nfilters={}\nsize=1\n"
    text = "[net]\nheight=3\nwidth=3\nchannels=2\n" + convolution.format(2) * 2 + "[route]\nlayers=-1,-2\n"
    text += convolution.format(4) + "[shortcut]\nfrom=-2\n" + convolution.format(3) + convolution.format(3)
    network, _ = load(tmp_path, text)
    groups = channel_groups(network)
    assert groups[0].obstacle == groups[1].obstacle == "only some of them are tied to those of layer 3"
    assert groups[3].obstacle == "only some of them are tied to those of layer 0"
    assert groups[5].obstacle is None


def test_the_answer_itself_stays(tmp_path: Path) -> None:
    network, weights = load(tmp_path, "[net]\nheight=3\nwidth=3\nchannels=1\n[convolutional]\nfilters=4\n[cost]\n")
    assert channel_groups(network)[0].obstacle == "they are the network's answer"
    with pytest.raises(UsageError, match=r"network.cfg: the channels of layer 0 .* must stay: they are the network's"):
        select_channels(network, weights, {0: np.array([3, 2, 1, 0])})


def test_a_reordered_network_computes_the_same(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    random = np.random.default_rng(3)
    orders = {index: random.permutation(network.layers[index].output.channels) for index in (0, 2, 6, 8, 9)}
    reordered = select_channels(network, weights, orders)
    x = images(network)
    assert_allclose(answers(network, reordered, x), answers(network, weights, x), rtol=1e-12)
    for before, after in zip(weights.layers, reordered.layers, strict=True):
        if before is not None and after is not None:
            assert before.weights.shape == after.weights.shape
            assert after.weights.dtype == np.float32
    moved = [b is not a for b, a in zip(weights.layers, reordered.layers, strict=True)]
    assert [index for index, is_moved in enumerate(moved) if is_moved] == [0, 2, 3, 6, 8, 9, 10]


def test_layers_without_values_are_named(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    partial = replace(weights, layers=(*weights.layers[:2], None, *weights.layers[3:]))
    with pytest.raises(UsageError, match=r"layer 2 \[convolutional\] has no weights"):
        select_channels(network, partial, {0: np.arange(9)[::-1]})
