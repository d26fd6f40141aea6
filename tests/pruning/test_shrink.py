"""Networks without the channels that filter pruning removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clprune.darknet.network import Network, load_network
from clprune.darknet.rewrite import resize_cfg
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights, write_weights
from clprune.errors import UsageError
from clprune.pruning.network import apply_masks, layers_left_whole, masks_of
from clprune.pruning.prune import choose_layers
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import channels_left, clear_channels, expand_weights, shrink_network
from clprune.pruning.unit import Mask
from clprune.unit import Unit
from tests.pruning.drawn import bits
from tests.pruning.networks import BRANCHES, CHAIN, INVERTED_RESIDUALS, SQUEEZED, images, load
from tests.random_networks import answers


def filter_masks(network: Network, weights: Weights, *, sparsity: float = 0.5) -> dict[int, Mask]:
    settings = PruneSettings(
        method="filter",
        sparsity=sparsity,
        fc_sparsity=sparsity,
        unit_for_layer=lambda layer: Unit(rows=8),
        first_dense=False,
    )
    return masks_of(choose_layers(network, weights, settings))


def test_the_smaller_network_equals_the_masked_one(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    masks = filter_masks(network, weights)
    assert sorted(masks) == [0, 2, 6, 8, 9]
    small = shrink_network(network, weights, masks)
    masked = clear_channels(network, apply_masks(weights, masks), masks)
    x = images(network)
    assert_allclose(answers(small.network, small.weights, x), answers(network, masked, x), rtol=1e-12)
    assert {index: len(kept) for index, kept in small.kept.items()} == {0: 5, 2: 6, 6: 5, 8: 7, 9: 5}
    count = sum(values.weights.size for values in small.weights.layers if values is not None)
    assert count < 0.35 * sum(values.weights.size for values in weights.layers if values is not None)


def test_the_smaller_cfg_is_the_old_text_with_other_numbers(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    small = shrink_network(network, weights, filter_masks(network, weights))
    before, after = CHAIN.splitlines(), small.cfg_text.splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        "filters = 5   # nine of them", "filters=6", "filters=5", "output=7", "output= 5",
    ]  # fmt: skip
    (tmp_path / "small.cfg").write_text(small.cfg_text)
    loaded = load_network(tmp_path / "small.cfg")
    assert loaded.layers == small.network.layers
    write_weights(tmp_path / "small.weights", loaded, small.weights)
    read = read_weights(tmp_path / "small.weights", loaded)
    x = images(network)
    assert_allclose(answers(loaded, read, x), answers(small.network, small.weights, x))


def test_shrunk_weights_find_their_places_again(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    masks = filter_masks(network, weights)
    small = shrink_network(network, weights, masks)
    whole = expand_weights(network, small.weights, small.kept)
    x = images(network)
    assert_allclose(answers(network, whole, x), answers(small.network, small.weights, x), rtol=1e-12)
    again = shrink_network(network, whole, {index: _any_row(whole, index) for index in masks})
    for one, other in zip(small.weights.layers, again.weights.layers, strict=True):
        if one is not None and other is not None:
            for name in ("weights", "biases", "scales", "mean", "variance"):
                if getattr(one, name) is not None:
                    assert_array_equal(getattr(one, name), getattr(other, name))


def _any_row(weights: Weights, index: int) -> Mask:
    values = weights.layers[index]
    assert values is not None
    rows: Mask = (values.weights != 0).reshape(len(values.weights), -1)
    return rows


def test_layers_whose_channels_must_stay_are_left_whole(tmp_path: Path) -> None:
    network, weights = load(tmp_path, BRANCHES)
    masks = filter_masks(network, weights)
    assert sorted(masks) == [0, 1, 2, 4, 5]
    assert_array_equal(masks[0].any(axis=1), masks[2].any(axis=1))
    small = shrink_network(network, weights, masks)
    masked = clear_channels(network, apply_masks(weights, masks), masks)
    x = images(network)
    assert_allclose(answers(small.network, small.weights, x), answers(network, masked, x), rtol=1e-12)
    settings = PruneSettings(method="filter", sparsity=0.5, unit_for_layer=lambda layer: Unit(rows=1))
    assert layers_left_whole(network, settings) == {
        2: "they are tied to those of layer 0",
        7: "layer 8 [convolutional] reads them in groups",
        8: "its channels lie in groups",
        9: "they are the network's answer, by way of layer 10 [avgpool]",
    }


def test_a_mask_that_breaks_the_network_is_refused(tmp_path: Path) -> None:
    network, weights = load(tmp_path, BRANCHES)
    for index, rows, text in (
        (7, 6, r"layer 7 \[convolutional\] must stay: layer 8 \[convolutional\] reads them in groups"),
        (2, 8, r"layer 3 \[shortcut\] ties channels: expected the same chosen in all its sources"),
    ):
        mask = np.ones((rows, 1), np.bool_)
        mask[3] = False
        for function in (shrink_network, clear_channels):
            with pytest.raises(UsageError, match=text):
                function(network, weights, {index: mask})


def test_tied_channels_go_together_through_sums_and_depthwise_convolutions(tmp_path: Path) -> None:
    network, weights = load(tmp_path, INVERTED_RESIDUALS)
    masks = filter_masks(network, weights)
    assert sorted(masks) == [0, 2, 4, 6, 8, 10]
    small = shrink_network(network, weights, masks)
    masked = clear_channels(network, apply_masks(weights, masks), masks)
    x = images(network)
    assert_allclose(answers(small.network, small.weights, x), answers(network, masked, x), rtol=1e-12)
    (tmp_path / "small.cfg").write_text(small.cfg_text)
    assert load_network(tmp_path / "small.cfg").layers == small.network.layers
    whole = expand_weights(network, small.weights, small.kept)
    assert_allclose(answers(network, whole, x), answers(small.network, small.weights, x), rtol=1e-12)
    # what a channel is worth is the norm of all rows that make it
    tied = np.hstack([weights.layers[index].weights.reshape(8, -1) for index in (2, 6, 10)])  # type: ignore[union-attr]
    best = np.sort(np.argsort(np.abs(tied).sum(axis=1))[-4:])
    for index in (2, 6, 10):
        assert_array_equal(np.flatnonzero(masks[index].any(axis=1)), best)


def test_factors_go_with_the_channels_that_they_multiply(tmp_path: Path) -> None:
    network, weights = load(tmp_path, SQUEEZED)
    masks = filter_masks(network, weights)
    assert sorted(masks) == [0, 2, 3]
    assert_array_equal(masks[0].any(axis=1), masks[3].any(axis=1))
    small = shrink_network(network, weights, masks)
    masked = clear_channels(network, apply_masks(weights, masks), masks)
    x = images(network)
    assert_allclose(answers(small.network, small.weights, x), answers(network, masked, x), rtol=1e-12)


def test_rows_that_lose_parts_only_stay() -> None:
    left = channels_left({3: bits("#.", "..", ".#"), 4: bits("#.", ".#")})
    assert {index: kept.tolist() for index, kept in left.items()} == {3: [0, 2]}
    with pytest.raises(UsageError, match="layer 7 removes every channel"):
        channels_left({7: bits("..", "..")})


def test_resizing_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "small.cfg"
    path.write_text("[net]\nheight=3\nwidth=3\nchannels=1\n[convolutional]\nsize=1\n[maxpool]\n[conn]\noutput=1 2;a\n")
    assert resize_cfg(path, {2: 7}).endswith("[conn]\noutput=7;a\n")
    for channels, expected in (
        ({0: 1}, "layer 0 has no filters="),
        ({1: 1}, r"layer 1 is \[maxpool\]"),
        ({3: 1}, "layer 3: expected 0 to 2"),
        ({2: 0}, "layer 2: 0 channels"),
    ):
        with pytest.raises(UsageError, match=expected):
            resize_cfg(path, channels)
