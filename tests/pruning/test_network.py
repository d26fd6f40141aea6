"""Masks of whole networks: which layers, how much, and what the weights are afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.errors import UsageError
from clprune.pruning.network import (
    PrunedLayer,
    apply_masks,
    masks_of,
    plan_pruning,
    prunable_layers,
    prune_layers,
    prune_random,
)
from clprune.pruning.schedule import sparsity_steps
from clprune.pruning.settings import PruneSettings
from clprune.quantization.coding import HalfCoding
from clprune.unit import Unit

CFG = """
[net]
height=6
width=5
channels=3
[convolutional]
filters=6
size=3
pad=1
activation=relu
[convolutional]
filters=10
size=3
pad=1
groups=2
activation=relu
[convolutional]
batch_normalize=1
filters=7
size=1
activation=relu
[connected]
output=9
activation=relu
[connected]
output=4
activation=linear
"""


def unit_of(layer: Convolutional | Connected) -> Unit:
    return Unit(rows=4) if isinstance(layer, Convolutional) else Unit(rows=2, columns=3)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    (tmp_path / "small.cfg").write_text(CFG)
    return load_network(tmp_path / "small.cfg")


def settings_of(**options: object) -> PruneSettings:
    return PruneSettings(**{"method": "workgroup", "sparsity": 0.5, "unit_for_layer": unit_of, **options})  # type: ignore[arg-type]


def test_the_first_convolution_stays_dense_unless_asked(network: Network) -> None:
    convolutions, connected = prunable_layers(network)
    assert [layer.index for layer in convolutions] == [1, 2]
    assert [layer.index for layer in connected] == [3, 4]
    assert [layer.index for layer in prunable_layers(network, first_dense=False)[0]] == [0, 1, 2]


def test_a_normalization_of_the_input_is_no_first_convolution(tmp_path: Path) -> None:
    first = "[convolutional]\nfilters=3\ngroups=3\nsize=1\nactivation=linear\n\n[convolutional]"
    (tmp_path / "normalized.cfg").write_text(CFG.replace("[convolutional]", first, 1))
    convolutions, _ = prunable_layers(load_network(tmp_path / "normalized.cfg"))
    assert [layer.index for layer in convolutions] == [2, 3]


def test_the_plan_names_method_unit_and_share(network: Network) -> None:
    weights = random_weights(network, seed=0)
    plan = plan_pruning(network, weights, settings_of(fc_sparsity=0.25))
    assert {index: (str(options.unit), options.sparsity) for index, options in plan.items()} == {
        1: ("4x1", 0.5), 2: ("4x1", 0.5), 3: ("2x3", 0.25), 4: ("2x3", 0.25),
    }  # fmt: skip
    assert sorted(plan_pruning(network, weights, settings_of())) == [1, 2]
    assert sorted(plan_pruning(network, weights, settings_of(sparsity=0.0, fc_sparsity=0.5))) == [3, 4]
    unstructured = plan_pruning(network, weights, settings_of(method="unstructured"))
    assert str(unstructured[1].unit) == "1x1"


def test_removed_units_are_zero_and_all_else_is_untouched(network: Network) -> None:
    weights = random_weights(network, seed=0)
    masks = masks_of(prune_layers(network, weights, plan_pruning(network, weights, settings_of())))
    pruned = apply_masks(weights, masks)
    for index, (before, after) in enumerate(zip(weights.layers, pruned.layers, strict=True)):
        assert before is not None and after is not None
        for name in ("biases", "scales", "mean", "variance"):
            assert getattr(before, name) is getattr(after, name)
        if index in masks:
            mask = masks[index].reshape(before.weights.shape)
            assert_array_equal(after.weights[mask], before.weights[mask])
            assert_array_equal(after.weights[~mask], 0)
            assert after.weights.dtype == np.float32
        else:
            assert after is before


def test_a_coding_does_not_outlive_a_mask(network: Network) -> None:
    weights = random_weights(network, seed=0)
    values = weights.layers[1]
    assert values is not None
    coding = HalfCoding(values=values.weights.astype(np.float16))
    coded = replace(values, weights=coding.decode(), coding=coding)
    mask = np.zeros((len(values.weights), values.weights[0].size), np.bool_)
    pruned = apply_masks(replace(weights, layers=(weights.layers[0], coded, *weights.layers[2:])), {1: mask}).layers[1]
    assert pruned is not None
    assert pruned.coding is None
    assert not pruned.weights.any()


def test_row_blocks_of_a_grouped_layer_end_with_its_group(network: Network) -> None:
    weights = random_weights(network, seed=0)
    mask = masks_of(prune_layers(network, weights, plan_pruning(network, weights, settings_of())))[1]
    # ten filters in two groups of five, units of four rows: blocks are 0-3, 4, 5-8, 9
    for block in (slice(0, 4), slice(4, 5), slice(5, 9), slice(9, 10)):
        assert (mask[block] == mask[block.start]).all()
    assert (mask[[0, 4, 5, 9]]).sum() == 54
    assert mask.shape == (10, 27)


def test_random_weights_lose_what_is_asked(network: Network) -> None:
    weights = random_weights(network, seed=0)
    pruned, plan = prune_random(network, weights, settings_of(sparsity=0.75, fc_sparsity=0.5))
    assert sorted(plan) == [1, 2, 3, 4]
    shares = [float(np.mean(layer.weights == 0)) for layer in pruned.layers if layer is not None]
    assert shares[0] == 0
    assert shares[3] == pytest.approx(0.5, abs=0.06)
    again, _ = prune_random(network, weights, settings_of(sparsity=0.75))
    assert_array_equal(again.layers[1].weights, pruned.layers[1].weights)  # type: ignore[union-attr]
    assert again.layers[3] is weights.layers[3]


def test_a_global_threshold_reaches_the_target_and_spares_the_important_layer(network: Network) -> None:
    weights = random_weights(network, seed=0)
    layers = list(weights.layers)
    third = layers[2]
    assert third is not None
    # all units of layer 2 alike and of layer 1 spread widely: the threshold finds the unimportant ones in layer 1
    layers[2] = replace(third, weights=np.ones_like(third.weights))
    weights = replace(weights, layers=tuple(layers))
    plan = plan_pruning(network, weights, settings_of(sparsity=0.4, allocation="global"))
    masks = masks_of(prune_layers(network, weights, plan))
    total = sum(mask.size for mask in masks.values())
    removed = sum(int((~mask).sum()) for mask in masks.values())
    total += sum(layers[index].weights.size for index in (1, 2) if index not in masks)  # type: ignore[union-attr]
    assert removed / total == pytest.approx(0.4, abs=0.02)
    assert 2 not in plan or plan[1].sparsity > plan[2].sparsity


def test_uniform_and_unknown_allocations(network: Network) -> None:
    weights = random_weights(network, seed=0)
    with pytest.raises(UsageError, match=r"'fair'.*uniform, global"):
        plan_pruning(network, weights, settings_of(allocation="fair"))


@pytest.mark.parametrize("options", [{"sparsity": 1.0}, {"fc_sparsity": -0.1}, {"method": "magic"}])
def test_settings_check_themselves(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        settings_of(**options)


def test_a_network_without_anything_to_prune_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.cfg").write_text("[net]\nheight=3\nwidth=3\nchannels=1\n[convolutional]\nfilters=2\n")
    network = load_network(tmp_path / "one.cfg")
    with pytest.raises(UsageError, match="no layer to prune"):
        plan_pruning(network, random_weights(network, seed=0), settings_of())


def test_layers_without_values_are_named(network: Network) -> None:
    weights = random_weights(network, seed=0)
    partial = replace(weights, layers=(weights.layers[0], None, *weights.layers[2:]))
    with pytest.raises(UsageError, match="layer 1 has no weights"):
        plan_pruning(network, partial, settings_of())


def test_the_removed_share_is_exact(network: Network) -> None:
    weights = random_weights(network, seed=0)
    (layer, *_) = prune_layers(network, weights, plan_pruning(network, weights, settings_of()))
    assert isinstance(layer, PrunedLayer) and layer.index == 1
    assert replace(layer, mask=np.array([[True, False, False, False]])).removed_share == 0.75


def test_steps_rise_to_the_target() -> None:
    assert sparsity_steps(0.75, steps=1) == (0.75,)
    assert sparsity_steps(0.8, steps=2) == pytest.approx((0.7, 0.8))
    steps = sparsity_steps(0.9, steps=5)
    assert list(steps) == sorted(steps) and steps[-1] == 0.9
    for bad in ({"sparsity": 1.0, "steps": 2}, {"sparsity": 0.5, "steps": 0}):
        with pytest.raises(UsageError, match="expected"):
            sparsity_steps(bad["sparsity"], steps=int(bad["steps"]))
