"""The Winograd domain: masks against masks written by hand, domains of weights, what is left spatial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from clprune.darknet.rewrite import annotate_cfg
from clprune.darknet.values import unit_matrix
from clprune.errors import CfgError, UsageError
from clprune.pruning.imbalance import kept_columns, matrix_imbalance
from clprune.pruning.methods.bwsp import BwspOptions
from clprune.pruning.network import in_pruning_domain, plan_pruning, prune_random
from clprune.pruning.prune import prune_network
from clprune.pruning.registry import get_method
from clprune.pruning.settings import PruneSettings
from clprune.pruning.winograd import output_tile, sensitivities, to_winograd_domain
from clprune.unit import Unit
from clprune.winograd.transforms import transform_filters, transform_matrices
from tests.pruning.drawn import bits, mask_for
from tests.pruning.networks import load

CFG = """
[net]
height=7
width=5
channels=3
[convolutional]
filters=6
size=3
pad=1
activation=relu
[convolutional]
batch_normalize=1
filters=5
size=3
pad=1
activation=relu
[convolutional]
filters=8
size=1
activation=relu
[convolutional]
filters=9
size=3
stride=2
pad=1
activation=relu
[convolutional]
filters=4
size=3
activation=relu
[connected]
output=4
activation=linear
"""


def settings_of(method: str = "wsp", **options: object) -> PruneSettings:
    own = {name: options.pop(name) for name in ("winograd", "winograd_unit", "refit", "balance") if name in options}
    if get_method(method).elsewhere is not None:
        options["options"] = get_method(method).options(**{"winograd": 4, **own})  # type: ignore[arg-type]
    given = {"sparsity": 0.5, "unit_for_layer": lambda layer: Unit(rows=2), **options}
    return PruneSettings(method=method, **given)  # type: ignore[arg-type]


# Two matrices of three rows and four columns below each other; units of two rows x 1 column: rows 0-1, 2, 3-4, 5.
TWO_MATRICES = np.array(
    [
        [9, 0, 1, 0],
        [9, 0, 1, 8],
        [0, 3, 0, 1],
        [5, 5, 5, 7],
        [5, 5, 5, 7],
        [6, 0, 2, 0],
    ],
    np.float32,
)


def test_one_threshold_over_all_matrices() -> None:
    # means: 9 0 1 4 | 0 3 0 1 | 5 5 5 7 | 6 0 2 0; the best eight of sixteen stay
    mask = mask_for("wsp", TWO_MATRICES, unit=Unit(rows=2), sparsity=0.5, group_rows=3)
    assert_array_equal(mask, bits("#..#", "#..#", ".#..", "####", "####", "#..."))


def test_as_many_in_every_list() -> None:
    mask = mask_for("bwsp", TWO_MATRICES, unit=Unit(rows=2), sparsity=0.5, group_rows=3)
    assert_array_equal(mask, bits("#..#", "#..#", ".#.#", "#..#", "#..#", "#.#."))


def test_as_many_in_every_matrix() -> None:
    # the best four of eight in each matrix: 9 1 4 3 over 5 5 7 6; of equal ones those with the lower index
    mask = mask_for(
        "bwsp", TWO_MATRICES, unit=Unit(rows=2), sparsity=0.5, group_rows=3, options=BwspOptions(balance="matrix")
    )
    assert_array_equal(mask, bits("#.##", "#.##", ".#..", "##.#", "##.#", "#..."))


def test_whole_columns_and_whole_rows() -> None:
    column = Unit(rows=3)
    # means of columns: 6 1 .7 3 over 5.3 3.3 4 4.7
    assert_array_equal(
        mask_for("wsp", TWO_MATRICES, unit=column, sparsity=0.5, group_rows=3),
        bits("#...", "#...", "#...", "#.##", "#.##", "#.##"),
    )
    assert_array_equal(
        mask_for("bwsp", TWO_MATRICES, unit=column, sparsity=0.5, group_rows=3),
        bits("#..#", "#..#", "#..#", "#..#", "#..#", "#..#"),
    )
    row = Unit(rows=1, columns=4)
    # means of rows: 2.5 4.5 1 over 5.5 5.5 2
    assert_array_equal(
        mask_for("wsp", TWO_MATRICES, unit=row, sparsity=0.5, group_rows=3),
        bits("....", "####", "....", "####", "####", "...."),
    )
    assert_array_equal(
        mask_for("bwsp", TWO_MATRICES, unit=row, sparsity=0.6, group_rows=3),
        bits("....", "####", "....", "####", "....", "...."),
    )


def test_matrices_are_compared_by_what_they_add_to_the_output() -> None:
    factors = sensitivities(2)
    # F(2x2, 3x3): A^T has columns of norms 1, sqrt(2), sqrt(2), 1; rows of B^T add or subtract pixels, next to each
    # other (the sum's variance is 2 + 2 * 0.3, the difference's 2 - 2 * 0.3) or one apart (2 - 2 * 0.09)
    one_side = np.array([1.82, 2 * 2.6, 2 * 1.4, 1.82]) ** 0.5
    assert_allclose(factors, np.outer(one_side, one_side))
    # one unit per matrix, all alike: sums by sums come first (27), then sums by differences (15), then by corners (9.5)
    mask = mask_for("wsp", np.ones((16, 1), np.float32), unit=Unit(rows=1), sparsity=0.75, group_rows=1, winograd=2)
    assert_array_equal(mask.reshape(4, 4), bits(".#..", ".##.", ".#..", "...."))
    plain = mask_for("wsp", np.ones((16, 1), np.float32), unit=Unit(rows=1), sparsity=0.75, group_rows=1)
    assert_array_equal(plain.reshape(4, 4), bits("####", "....", "....", "...."))


def test_rows_must_be_whole_matrices() -> None:
    with pytest.raises(UsageError, match="expected 16 groups"):
        mask_for("wsp", np.ones((15, 2), np.float32), unit=Unit(rows=1), sparsity=0.5, group_rows=1, winograd=2)
    with pytest.raises(UsageError, match="'row': expected one of list, matrix"):
        BwspOptions(balance="row")


def test_imbalance_of_lists_and_of_matrices() -> None:
    mask = np.ones((16 * 3, 4), bool)
    mask[3:] = bits("#.#.")  # the first matrix keeps four columns, the others two
    counts = kept_columns(mask, unit_rows=2, group_rows=3)
    assert counts.tolist() == [4, 4] + [2] * 30
    assert matrix_imbalance(counts, winograd=2) == pytest.approx(4 / ((4 + 15 * 2) / 16))
    assert matrix_imbalance(counts, winograd=None) is None


def test_only_what_has_a_winograd_domain_is_pruned_there(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    plan = plan_pruning(network, weights, settings_of(fc_sparsity=0.5))
    assert {index: (options.method, options.winograd) for index, options in plan.items()} == {
        1: ("wsp", 4), 2: ("workgroup", None), 3: ("workgroup", None), 4: ("wsp", 2), 5: ("workgroup", None),
    }  # fmt: skip
    assert output_tile(network.layers[4], winograd=4) == 2  # its output is 2x1
    pruned = prune_network(network, weights, settings_of(fc_sparsity=0.5, refit=False))
    for index, options in plan.items():
        values, mask = pruned.weights.layers[index], pruned.masks[index]
        assert values is not None
        assert values.winograd == options.winograd
        assert_array_equal(unit_matrix(values)[~mask], 0)
        assert 0.35 < mask.mean() < 0.65
    before, after = weights.layers[1], pruned.weights.layers[1]
    assert before is not None and after is not None
    assert after.weights.shape == (6, 6, 5, 6) and after.weights.dtype == np.float32
    u = transform_filters(before.weights, 4).astype(np.float32).reshape(-1, 6)
    assert_array_equal(unit_matrix(after), np.where(pruned.masks[1], u, 0))
    assert pruned.weights.layers[0] is weights.layers[0]
    report = pruned.reports[0]
    assert (report.winograd, report.unit, report.columns) == (4, "2x1", 6)
    assert report.matrix_imbalance is not None and report.matrix_imbalance > 1
    assert pruned.reports[1].matrix_imbalance is None


@pytest.mark.parametrize(("unit", "expected"), [("column", "5x1"), ("row", "1x6"), ("tile", "2x1")])
def test_units_in_the_winograd_domain(tmp_path: Path, unit: str, expected: str) -> None:
    network, weights = load(tmp_path, CFG)
    pruned = prune_network(network, weights, settings_of("bwsp", winograd=2, winograd_unit=unit))
    assert str(pruned.plan[1].unit) == expected
    assert pruned.reports[0].matrix_imbalance == 1
    assert str(pruned.plan[2].unit) == "2x1"


def test_a_chosen_variant_per_layer(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    plan = plan_pruning(network, weights, settings_of("abwsp", variants={1: "wsp"}))
    assert [plan[index].method for index in (1, 2, 4)] == ["wsp", "workgroup", "bwsp"]


def test_a_global_threshold_compares_in_the_winograd_domain(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    settings = settings_of(allocation="global")
    plan = plan_pruning(network, weights, settings)
    again = plan_pruning(network, in_pruning_domain(network, weights, settings), settings)
    assert plan == again
    assert len({options.sparsity for options in plan.values()}) > 1


def test_weights_stay_in_their_domain(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    there = to_winograd_domain(network, weights, {1: 4})
    assert to_winograd_domain(network, there, {1: 4}).layers[1] is there.layers[1]
    with pytest.raises(UsageError, match=r"F\(4x4, 3x3\), which cannot become those of F\(2x2, 3x3\)"):
        to_winograd_domain(network, there, {1: 2})
    with pytest.raises(UsageError, match="3x3 convolution of stride 1"):
        to_winograd_domain(network, weights, {3: 4})
    with pytest.raises(UsageError, match=r"layer 1 holds weights of F.*which workgroup cannot prune"):
        prune_network(network, there, settings_of("workgroup"))
    with pytest.raises(UsageError, match="leave --permute"):
        prune_network(network, there, settings_of(permute=True))
    partial = replace(weights, layers=(weights.layers[0], None, *weights.layers[2:]))
    with pytest.raises(UsageError, match="layer 1 has no weights"):
        prune_network(network, partial, settings_of())


@pytest.mark.parametrize("options", [{"winograd": 3}, {"winograd_unit": "plane"}, {"balance": "all"}])
def test_settings_check_themselves(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected one of"):
        settings_of("bwsp", **options)


def test_permuted_channels_are_ordered_by_what_units_are_cut_from(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    plain, permuted = (prune_network(network, weights, settings_of(permute=permute)) for permute in (False, True))
    assert permuted.permutation is not None and 1 in permuted.permutation.orders
    assert permuted.reports[0].norm_error != plain.reports[0].norm_error
    before, after = permuted.permutation.retained[1]
    assert after > before


def test_random_weights_are_pruned_there_too(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    pruned, plan = prune_random(network, weights, settings_of("bwsp", winograd=2))
    assert plan[1].winograd == 2
    values = pruned.layers[1]
    assert values is not None and values.winograd == 2
    assert np.mean(values.weights == 0) == pytest.approx(0.5, abs=0.01)


def test_the_cfg_says_it_and_reads_it_back(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CFG)
    plan = plan_pruning(network, weights, settings_of())
    text = annotate_cfg(network.path, plan)
    assert text.count("prune_winograd=4\n") == text.count("prune_winograd=2\n") == 1
    path = tmp_path / "pruned.cfg"
    path.write_text(text)
    read = {layer.index: layer.prune for layer in load_network(path).layers if isinstance(layer, Convolutional)}
    assert read == {0: None, **{index: options for index, options in plan.items() if index != 5}}
    assert annotate_cfg(path, plan) == text
    spatial = {1: replace(plan[1], winograd=None)}
    assert annotate_cfg(path, spatial).count("prune_winograd") == 1
    path.write_text(CFG.replace("filters=5\n", "filters=5\nprune_winograd=4\n"))
    with pytest.raises(CfgError, match="prune_winograd"):
        load_network(path)


def test_transforms_scale_their_rows_differently() -> None:
    factors = sensitivities(4)
    assert factors.shape == (6, 6)
    assert factors.max() / factors.min() > 10
    transforms = transform_matrices(4)
    # an input tile of noise with one value of U set: the output's mean square is the sensitivity's square
    places = np.arange(6)
    root = np.linalg.cholesky(0.3 ** np.abs(places[:, None] - places))
    noise = root @ np.random.default_rng(0).standard_normal((20_000, 6, 6)) @ root.T
    v = transforms.input_array @ noise @ transforms.input_array.T
    chosen = np.zeros((6, 6))
    chosen[1, 4] = 1
    y = transforms.output_array @ (v * chosen) @ transforms.output_array.T
    assert np.sqrt((y**2).sum((1, 2)).mean()) == pytest.approx(factors[1, 4], rel=0.02)
