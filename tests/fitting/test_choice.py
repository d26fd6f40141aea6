"""The choice among ways: against all of them tried, with channels that change other layers' times too."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.kinds.base import PruneOptions
from clprune.fitting.choice import BUCKETS, Cost, choose, dense_ms, fastest_ms, knapsack, search
from clprune.fitting.entry import Entry
from clprune.fitting.table import Group, Selection, Table
from clprune.unit import Unit
from tests.pruning.networks import CHAIN, load


@pytest.mark.parametrize("seed", range(5))
def test_the_knapsack_is_the_best_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    layers = [[Cost(time_ms=ms, loss=lost) for ms, lost in random.random((4, 2))] for _ in range(5)]
    for budget_ms in (0.5, 1.5, 2.5, 9.0):
        all_ways = list(itertools.product(*(range(len(ways)) for ways in layers)))
        totals = {
            ways: (sum(layers[i][way].time_ms for i, way in enumerate(ways)),
                   sum(layers[i][way].loss for i, way in enumerate(ways)))
            for ways in all_ways
        }  # fmt: skip
        # times are rounded up to buckets: that may cost one for each layer
        short_ms = budget_ms * (1 - len(layers) / 20_000)
        best = min((lost for ms, lost in totals.values() if ms <= short_ms), default=math.inf)
        found = knapsack(layers, budget_ms=budget_ms, buckets=20_000)
        if found is None:
            assert best == math.inf
        else:
            assert totals[found][0] <= budget_ms
            assert totals[found][1] <= best + 1e-12


def test_a_budget_that_sums_stray_from_is_enough() -> None:
    assert knapsack([[Cost(time_ms=0.1, loss=1.0)], [Cost(time_ms=0.2, loss=1.0)]], budget_ms=0.3) == (0, 0)


def make_table(folder: Path, seed: int) -> Table:
    """CHAIN with two ways for each of three layers, and two groups whose channels may go."""
    network, _ = load(folder, CHAIN)
    random = np.random.default_rng(seed)
    options = [PruneOptions(method="workgroup", unit=Unit(rows=4), sparsity=share) for share in (0.5, 0.75)]
    entries = {}
    for layer in network.matrix_layers:
        dense = Entry(options=None, time_ms=1 + random.random())
        others = [
            Entry(options=one, time_ms=dense.time_ms * (1 - one.sparsity), loss=float(random.random()) * one.sparsity)
            for one in options
        ]
        entries[layer.index] = (dense, *others)
    groups = tuple(Group(producers=(index,), losses=(0.0, *np.sort(random.random(2)))) for index in (2, 6))
    return Table(
        network=network, entries=entries, groups=groups, channel_shares=(0.0, 0.25, 0.5),
        thin_ms={layer.index: ((1.0, 1.0), (0.2, 0.3)) for layer in network.matrix_layers}, overhead_ms=0.2,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_channels_and_ways_are_chosen_together(tmp_path: Path, seed: int) -> None:
    table = make_table(tmp_path, seed)
    everything = [
        Selection(entries=dict(zip(table.entries, ways, strict=True)), channels=channels)
        for ways in itertools.product(range(3), repeat=len(table.entries))
        for channels in itertools.product(range(3), repeat=2)
    ]
    assert dense_ms(table) == table.time_ms(everything[0])
    assert fastest_ms(table) == pytest.approx(min(map(table.time_ms, everything)))
    for part in (0.4, 0.6, 0.8):
        budget_ms = part * dense_ms(table)
        short_ms = budget_ms * (1 - 2 * len(table.entries) / BUCKETS)
        best = min(table.loss(one) for one in everything if table.time_ms(one) <= short_ms)
        found = choose(table, budget_ms=budget_ms)
        assert found is not None and table.time_ms(found) <= budget_ms * (1 + 1e-9)
        # channels are moved one group at a time: that may end beside the best, not far from it
        assert table.loss(found) <= 1.15 * best + 1e-3
    assert choose(table, budget_ms=0.99 * fastest_ms(table)) is None
    # what a choice takes by the table is enough for one, whatever sums of floats stray by
    for ms in (fastest_ms(table), dense_ms(table)):
        assert choose(table, budget_ms=ms) is not None


def test_the_whole_network_decides(tmp_path: Path) -> None:
    table = make_table(tmp_path, 7)
    budget_ms = 0.5 * table.time_ms(Selection(entries=dict.fromkeys(table.entries, 0), channels=(0, 0)))
    seen: dict[str, float] = {}

    def evaluate(selection: Selection) -> float:
        assert table.name(selection) not in seen
        assert table.time_ms(selection) <= budget_ms * (1 + 1e-9)
        return seen.setdefault(table.name(selection), -float(len(seen)))  # later ones are better

    found = search(table, budget_ms=budget_ms, evaluate=evaluate, tries=12)
    assert found is not None and len(seen) > 1
    assert table.named(table.name(found[0])) == found[0]
    assert found == (found[0], min(seen.values())) and seen[table.name(found[0])] == found[1]
