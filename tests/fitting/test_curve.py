"""What is lost at shares between those that were judged, and beside channels that are gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clprune.darknet.kinds.base import PruneOptions
from clprune.fitting.curve import Curve, curves_of
from clprune.fitting.entry import Entry
from clprune.fitting.table import Group, Selection, Table
from clprune.unit import Unit
from tests.pruning.networks import CHAIN, load

JUDGED = Curve(kept=(0.125, 0.25, 0.5), losses=(0.4, 0.1, 0.02))


def test_a_curve_goes_through_what_was_judged_and_rises_where_less_is_kept() -> None:
    for kept, lost in zip(JUDGED.kept, JUDGED.losses, strict=True):
        assert JUDGED.loss(kept) == pytest.approx(lost)
    assert JUDGED.loss(1.0) == 0
    shares = [0.02, 0.05, 0.125, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]
    losses = [JUDGED.loss(kept) for kept in shares]
    assert losses == sorted(losses, reverse=True)
    assert JUDGED.loss(0.0625) == pytest.approx(1.6)  # a half loses four times as much, as the half before
    assert Curve(kept=(0.5,), losses=(0.1,)).loss(0.25) == pytest.approx(0.4)
    assert Curve(kept=(0.25, 0.5), losses=(0.0, 0.0)).loss(0.1) == pytest.approx(0, abs=1e-6)


def test_pruning_goes_on_from_where_the_channels_left_the_layer() -> None:
    assert JUDGED.rise(0.5, columns=1.0) == 0
    # half of the half that is left is a quarter of all, and the first half was lost already
    assert JUDGED.rise(0.5, columns=0.5) == pytest.approx(0.1 - 0.02 - 0.02)
    assert JUDGED.rise(0.25, columns=0.5) == pytest.approx(0.4 - 0.02 - 0.1)
    flat = Curve(kept=(0.25, 0.5), losses=(0.3, 0.3))
    assert flat.rise(0.5, columns=0.5) == 0


def test_ways_of_one_kind_make_a_curve() -> None:
    options = [PruneOptions(method="workgroup", unit=Unit(rows=4), sparsity=share) for share in (0.5, 0.75)]
    wide = replace(options[0], unit=Unit(rows=8))
    entries = [
        Entry(options=None, time_ms=1.0),
        Entry(options=options[0], time_ms=0.5, loss=0.02),
        Entry(options=options[0], time_ms=0.4, loss=0.03, bits=8),
        Entry(options=options[1], time_ms=0.3, loss=0.1),
        Entry(options=wide, time_ms=0.5, loss=0.05),
    ]
    curves = curves_of(entries)
    assert entries[0].way not in curves
    assert curves[entries[1].way] == Curve(kept=(0.25, 0.5), losses=(0.1, 0.02))
    assert curves[entries[4].way] == Curve(kept=(0.5,), losses=(0.05,))


def test_a_layer_that_lost_inputs_loses_more_by_pruning(tmp_path: Path) -> None:
    network, _ = load(tmp_path, CHAIN)
    options = [PruneOptions(method="workgroup", unit=Unit(rows=4), sparsity=share) for share in (0.5, 0.75)]
    layers = [layer.index for layer in network.matrix_layers]
    pruned = [Entry(options=one, time_ms=1 - one.sparsity, loss=one.sparsity**3) for one in options]
    ways = (Entry(options=None, time_ms=1.0), *pruned)
    table = Table(
        network=network, entries=dict.fromkeys(layers, ways), groups=(Group(producers=(2,), losses=(0.0, 0.01)),),
        channel_shares=(0.0, 0.5), thin_ms=dict.fromkeys(layers, ((1.0, 1.0), (0.25, 0.25))),
    )  # fmt: skip
    assert table.ways((0,)) == table.entries
    thin = table.ways((1,))
    readers = [index for index in layers if thin[index][1].loss > ways[1].loss]
    assert readers == [min(index for index in layers if index > 2)]
    assert thin[readers[0]][0].loss == 0  # dense: what goes is in the channels' own loss
    assert thin[readers[0]][1].loss == pytest.approx(0.75**3 - 0.5**3)
    assert thin[2][1] == replace(ways[1], time_ms=thin[2][1].time_ms)  # rows that are gone take none from others
    chosen = Selection(entries={**dict.fromkeys(layers, 0), readers[0]: 1}, channels=(1,))
    assert table.loss(chosen) == pytest.approx(0.01 + 0.75**3 - 0.5**3)
