"""`abwsp` from times that are given and losses that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
# ruff: noqa: E402  # what follows can be imported only where torch can

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.data import load_data
from clprune.errors import UsageError
from clprune.pruning.settings import PruneSettings
from clprune.training import Recipe, prune_and_retrain
from clprune.training.variants import choose_layer_variants
from clprune.unit import Unit
from tests.training.networks import MICRO, network_of

TWO_MORE = MICRO.replace("[maxpool]", "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=relu\n\n[maxpool]")
SETTINGS = PruneSettings(method="abwsp", sparsity=0.5, unit_for_layer=lambda layer: Unit(rows=4))


def times_of(wsp_ms: float, bwsp_ms: float) -> object:
    def layer_times(network: Network, weights: Weights, plan: Mapping[int, PruneOptions]) -> dict[int, float]:
        values = weights.layers[1]
        assert values is not None and values.winograd == 2
        return {index: wsp_ms if options.method == "wsp" else bwsp_ms for index, options in plan.items()}

    return layer_times


def test_time_decides_within_the_budget(tmp_path: Path) -> None:
    network = network_of(tmp_path, TWO_MORE)
    weights = random_weights(network, seed=0)
    images = load_data("synthetic", split="train", height=8, width=8, count=64)
    slow = choose_layer_variants(
        network,
        weights,
        SETTINGS,
        calibration=images,
        layer_times=times_of(9.0, 1.0),  # type: ignore[arg-type]
    )
    assert [(choice.layer, choice.variant) for choice in slow] == [(1, "bwsp"), (2, "bwsp")]
    alike = choose_layer_variants(
        network,
        weights,
        SETTINGS,
        calibration=images,
        layer_times=times_of(1.0, 1.0),  # type: ignore[arg-type]
    )
    for choice in alike:
        assert choice.variant == ("wsp" if choice.costs["wsp"].loss <= choice.costs["bwsp"].loss else "bwsp")
        assert choice.costs["wsp"].loss != choice.costs["bwsp"].loss
        assert choice.costs["wsp"].time_ms == choice.costs["bwsp"].time_ms == 1.0


def test_the_choice_is_what_is_pruned_and_reported(tmp_path: Path) -> None:
    network = network_of(tmp_path, TWO_MORE)
    weights = random_weights(network, seed=0)
    images = load_data("synthetic", split="train", height=8, width=8, count=64)
    recipe = Recipe(epochs=1, batch=32, learning_rate=0.01)
    report = prune_and_retrain(
        network,
        weights,
        SETTINGS,
        data=images,
        recipe=recipe,
        steps=2,
        layer_times=times_of(1.0, 1.0),  # type: ignore[arg-type]
    )
    assert {choice.layer: choice.variant for choice in report.choices} == {
        index: options.method for index, options in report.plan.items()
    }
    plain = prune_and_retrain(network, weights, SETTINGS, data=images, recipe=recipe)
    assert plain.choices == ()
    assert {options.method for options in plain.plan.values()} == {"bwsp"}


def test_a_time_that_is_missing_is_named(tmp_path: Path) -> None:
    network = network_of(tmp_path)
    images = load_data("synthetic", split="train", height=8, width=8, count=64)
    with pytest.raises(UsageError, match="no time of layer 1 with wsp"):
        choose_layer_variants(
            network,
            random_weights(network, seed=0),
            SETTINGS,
            calibration=images,
            layer_times=lambda network, weights, plan: {},
        )
