"""Where channels go, and the network that takes some of them or all in another order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from clprune.errors import UsageError
from clprune.pruning.channels import channel_flow, select_channels
from tests.pruning.networks import BRANCHES, CHAIN, images, load
from tests.random_networks import answers


def test_ways_of_a_chain(tmp_path: Path) -> None:
    network, _ = load(tmp_path, CHAIN)
    flows = {index: channel_flow(network, index) for index in (0, 2, 6, 8, 9, 10)}
    assert {index: (flow.carriers, flow.readers) for index, flow in flows.items() if flow.obstacle is None} == {
        0: ((1,), (2,)), 2: ((3, 4, 5), (6,)), 6: ((7,), (8,)), 8: ((), (9,)), 9: ((), (10,)),
    }  # fmt: skip
    assert flows[10].obstacle == "they reach layer 11 [softmax]"


def test_obstacles(tmp_path: Path) -> None:
    network, _ = load(tmp_path, BRANCHES)
    found = {index: channel_flow(network, index).obstacle for index in (0, 1, 2, 4, 5, 7, 8, 9)}
    assert found == {
        0: "they reach layer 3 [shortcut]",
        1: None,
        2: "they reach layer 3 [shortcut]",
        4: "they reach layer 6 [route]",
        5: "they reach layer 6 [route]",
        7: "layer 8 [convolutional] reads them in groups",
        8: "its channels lie in groups",
        9: "they are the network's answer, by way of layer 10 [avgpool]",
    }


def test_the_answer_itself_stays(tmp_path: Path) -> None:
    network, weights = load(tmp_path, "[net]\nheight=3\nwidth=3\nchannels=1\n[convolutional]\nfilters=4\n[cost]\n")
    assert channel_flow(network, 0).obstacle == "they are the network's answer"
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
        select_channels(network, partial, {0: np.arange(9)})
