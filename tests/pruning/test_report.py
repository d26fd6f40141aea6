"""What a run is reported to have done: figures by hand, and a page that needs nothing but itself."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clprune.pruning.prune import prune_network
from clprune.pruning.report import LayerReport, PruningReport, norm_error
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import shrink_network
from clprune.pruning.variants import VariantChoice, VariantCost
from clprune.unit import Unit
from clprune.workflow.report_page import axis_ticks, report_page
from tests.pruning.drawn import bits, matrix
from tests.pruning.networks import BRANCHES, CHAIN, load

LAYER = LayerReport(
    layer=3, kind="convolutional", method="bcbp", unit="8x1", sparsity=0.75, kept_share=0.25, norm_error=0.5,
    columns=36, columns_fewest=8, columns_mean=9.0, columns_most=10, imbalance=1.0, imbalance_before=1.25,
    ms_before=0.4, ms_after=0.1,
)  # fmt: skip
REPORT = PruningReport(
    model="a<b>.cfg", method="bcbp", criterion="l1", allocation="uniform", layers=(LAYER,), left={5: "a & b"},
    permuted={3: (0.3, 0.4)}, accuracy_dense=0.9, accuracy_masked=0.2, accuracy_retrained=0.89, ms_before=4.0,
    ms_after=2.0, device="Example", data="digits",
)  # fmt: skip


def settings_of(method: str, **options: object) -> PruneSettings:
    shares = {"sparsity": 0.5, "fc_sparsity": 0.5, "unit_for_layer": lambda layer: Unit(rows=4)}
    return PruneSettings(**{"method": method, **shares, **options})  # type: ignore[arg-type]


def test_the_norm_that_went() -> None:
    weights = matrix("3 0 1", "0 4 0")
    assert norm_error(weights, bits("#..", "#.#")) == pytest.approx(np.sqrt((1 + 16) / 26))
    assert norm_error(weights, bits("###", "###")) == 0
    assert norm_error(np.zeros((2, 3), np.float32), bits("...", "...")) == 0


def test_layers_report_what_their_masks_do(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    pruned = prune_network(network, weights, settings_of("workgroup"))
    assert [layer.layer for layer in pruned.reports] == [2, 6, 8, 9, 10]
    for layer in pruned.reports:
        mask = pruned.masks[layer.layer]
        blocks = [int(np.count_nonzero(mask[first : first + 4].any(axis=0))) for first in range(0, len(mask), 4)]
        assert (layer.columns_fewest, layer.columns_most) == (min(blocks), max(blocks))
        assert layer.imbalance == pytest.approx(max(blocks) / np.mean(blocks))
        assert layer.kept_share == mask.mean()
        assert layer.imbalance_before is None
        assert 0 < layer.norm_error < 0.8
        values = pruned.weights.layers[layer.layer]
        assert values is not None
        assert_array_equal(values.weights.reshape(mask.shape) != 0, mask)


def test_bcbp_reports_its_imbalance_before_and_after(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    pruned = prune_network(network, weights, settings_of("bcbp"))
    plain = prune_network(network, weights, settings_of("wavefront"))
    for balanced, free in zip(pruned.reports, plain.reports, strict=True):
        assert balanced.imbalance == 1
        assert balanced.imbalance_before == pytest.approx(free.imbalance)


def test_filters_take_the_next_layers_inputs_along(tmp_path: Path) -> None:
    network, weights = load(tmp_path, CHAIN)
    pruned = prune_network(network, weights, settings_of("filter", first_dense=False))
    small = shrink_network(network, pruned.weights, pruned.masks)
    for layer in pruned.reports:
        before, after = weights.layers[layer.layer], small.weights.layers[layer.layer]
        assert before is not None and after is not None
        assert layer.kept_share == after.weights.size / before.weights.size
        assert layer.imbalance == 1
    assert pruned.left == {10: "they reach layer 11 [softmax]"}


def test_permuting_first_retains_more(tmp_path: Path) -> None:
    network, weights = load(tmp_path, BRANCHES)
    plain = prune_network(network, weights, settings_of("bcbp"))
    permuted = prune_network(network, weights, settings_of("bcbp", permute=True))
    assert plain.permutation is None
    assert permuted.permutation is not None
    assert set(permuted.permutation.orders) == {1, 4, 5}
    assert permuted.reports[0].norm_error < plain.reports[0].norm_error


def test_warnings_where_operations_fell_and_time_did_not() -> None:
    assert REPORT.warnings == ()
    slow = replace(REPORT, layers=(LAYER, replace(LAYER, layer=4, ms_after=0.39)), ms_after=3.9)
    assert slow.warnings == (
        "layer 4 keeps 25 % of its weights but takes 0.39 ms instead of 0.4 ms",
        "the network takes 3.9 ms instead of 4 ms",
    )
    unmeasured = replace(REPORT, layers=(replace(LAYER, ms_after=None),), ms_before=None)
    assert unmeasured.warnings == ()
    assert not replace(LAYER, kept_share=0.9, ms_after=0.4).gained_nothing


def test_json_holds_all_of_it() -> None:
    content = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    assert content["layers"][0]["imbalance_before"] == 1.25
    assert content["left"] == {"5": "a & b"}
    assert content["permuted"] == {"3": [0.3, 0.4]}
    assert content["warnings"] == []


class _Tags(HTMLParser):
    """Checks that tags close in order, and collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href")] + [tag] * (tag == "script")
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("layers", [(LAYER,), (), tuple(replace(LAYER, layer=i, ms_before=None) for i in range(60))])
def test_the_page_is_whole_and_loads_nothing(layers: tuple[LayerReport, ...]) -> None:
    page = report_page(replace(REPORT, layers=layers))
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loads == []
    assert "url(" not in page
    assert "a&lt;b&gt;.cfg" in page
    assert "a &amp; b" in page
    assert "89.00 %" in page


def test_the_page_marks_layers_that_gained_nothing() -> None:
    page = report_page(replace(REPORT, layers=(replace(LAYER, ms_after=0.4),)))
    assert '<td class="slow">1.00 ×</td>' in page
    assert "layer 3 keeps 25 % of its weights but takes" in page
    assert "1.25 → 1.00" in page


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, [0, 1]), (100, [0, 20, 40, 60, 80, 100]), (0.31, [0, 0.1, 0.2, 0.3, 0.4]), (7, [0, 2, 4, 6, 8]), (1, None)],
)
def test_ticks_are_round_and_reach_the_highest_bar(highest: float, ticks: list[float] | None) -> None:
    found = axis_ticks(highest)
    assert found[-1] >= highest
    assert 2 <= len(found) <= 7
    if ticks is not None:
        assert found == pytest.approx(ticks)


def test_bars_are_as_high_as_their_values() -> None:
    page = report_page(replace(REPORT, layers=(replace(LAYER, kept_share=0.5, ms_before=None),)))
    assert page.count("<rect") == 3
    assert page.count('height="190.0"') == 3
    assert "layer 3, kept: 50 %" in page
    assert "layer 3, pruned: 0.1 ms" in page


def test_choices_and_their_reasons_are_on_the_page() -> None:
    cost = VariantCost(time_ms=1.0, loss=0.5, accuracy=0.9)
    choice = VariantChoice(layer=3, variant="wsp", reason="it is <faster>", costs={"wsp": cost, "bwsp": cost})
    page = report_page(replace(REPORT, choices=(choice,)))
    assert "<h2>Variants</h2>" in page
    assert "wsp: it is &lt;faster&gt;" in page
    assert "Variants" not in report_page(REPORT)
    assert replace(REPORT, choices=(choice,)).to_dict()["choices"][0]["bwsp"] == {
        "time_ms": 1.0,
        "loss": 0.5,
        "accuracy": 0.9,
    }
