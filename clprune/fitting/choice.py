"""Which way for each layer: the least loss under so many milliseconds.

For given channels the layers are chosen by dynamic programming over time cut into buckets, as SPDY does (Frantar &
Alistarh 2022, arXiv 2201.13096; a knapsack with one thing of each layer, as HALP, arXiv 2110.10811):

    best[l][t] = min over ways w of layer l of best[l - 1][t - time(l, w)] + loss(l, w)

Channels change the times of all layers that read or pass them on, and what pruning these loses
(`clprune.fitting.curve`), so that they are moved around that, one group at a time, from every even share on, as long as
the best choice for all layers becomes better by it. Losses of layers alone do not tell all of their sum: `search`
multiplies them by random factors, as SPDY does, and keeps what the whole network's answer likes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clprune.fitting.table import Selection, Table

#: Buckets of time of the dynamic programming: what rounding may lose is a layer's share of the budget over this.
BUCKETS = 4000

#: What sums of floats may stray by.
_ROUNDING = 1e-9

#: Spread of the logarithms of random factors.
SPREAD = 0.7


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way of a layer costs."""

    time_ms: float
    loss: float


def knapsack(layers: Sequence[Sequence[Cost]], *, budget_ms: float, buckets: int = BUCKETS) -> tuple[int, ...] | None:
    """The way of each layer with the least sum of losses in at most `budget_ms`, None where there is none.

    Times are rounded up to buckets, so that the budget holds; where only rounding forbids it, the fastest ways count.
    """
    fastest = tuple(min(range(len(ways)), key=lambda way: (ways[way].time_ms, ways[way].loss)) for ways in layers)
    least_ms = sum(ways[way].time_ms for ways, way in zip(layers, fastest, strict=True))
    if not budget_ms > 0 or least_ms > budget_ms * (1 + _ROUNDING):
        return None
    best: NDArray[np.float64] = np.zeros(buckets + 1)
    chosen = []
    for ways in layers:
        totals = np.full((len(ways), buckets + 1), math.inf)
        for number, way in enumerate(ways):
            steps = math.ceil(way.time_ms / budget_ms * buckets - _ROUNDING)
            if steps <= buckets:
                totals[number, steps:] = best[: buckets + 1 - steps] + way.loss
        chosen.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
    if not math.isfinite(best[-1]):
        return fastest
    place, picks = buckets, list[int]()
    for ways, choices in zip(reversed(layers), reversed(chosen), strict=True):
        picks.append(int(choices[place]))
        place -= math.ceil(ways[picks[-1]].time_ms / budget_ms * buckets - _ROUNDING)
    return tuple(reversed(picks))


Weighing = tuple[NDArray[np.float64], NDArray[np.float64]]


def choose(table: Table, *, budget_ms: float, weighing: Weighing | None = None) -> Selection | None:
    """The selection of the least loss whose whole network takes `budget_ms` at most, None where there is none.

    `weighing` are factors of the losses of layers and of groups.
    """
    by_layer, by_group = weighing or (np.ones(len(table.entries)), np.ones(len(table.groups)))

    @functools.cache
    def with_channels(channels: tuple[int, ...]) -> tuple[float, Selection] | None:
        useful = table.useful(channels)
        costs = [
            [Cost(time_ms=entry.time_ms, loss=entry.loss * weight) for entry in ways.values()]
            for ways, weight in zip(useful.values(), by_layer, strict=True)
        ]
        found = knapsack(costs, budget_ms=budget_ms - table.overhead_ms)
        if found is None:
            return None
        groups = zip(table.groups, channels, by_group, strict=True)
        lost = sum(group.losses[place] * weight for group, place, weight in groups)
        lost += sum(ways[pick].loss for ways, pick in zip(costs, found, strict=True))
        picks = {index: list(ways)[pick] for (index, ways), pick in zip(useful.items(), found, strict=True)}
        return lost, Selection(entries=picks, channels=channels)

    shares = range(len(table.channel_shares))
    ends = [_descend(with_channels, (place,) * len(table.groups), shares) for place in shares]
    found = [end for end in ends if end is not None]
    return min(found, key=lambda end: end[0])[1] if found else None


def fastest_ms(table: Table) -> float:
    """The least milliseconds that any selection is expected to take."""
    last = (len(table.channel_shares) - 1,) * len(table.groups)
    return min(
        table.time_ms(
            Selection(
                entries={
                    index: min(range(len(entries)), key=lambda place, of=entries: of[place].time_ms)  # type: ignore[misc]
                    for index, entries in table.entries.items()
                },
                channels=channels,
            )
        )
        for channels in ((0,) * len(table.groups), last)
    )


def dense_ms(table: Table) -> float:
    """Milliseconds that the dense network is expected to take."""
    return table.time_ms(Selection(entries=dict.fromkeys(table.entries, 0), channels=(0,) * len(table.groups)))


def search(
    table: Table, *, budget_ms: float, evaluate: Callable[[Selection], float], tries: int, seed: int = 0
) -> tuple[Selection, float] | None:
    """(the selection of the least true loss among the best for `tries` weighings, that loss); None where there is none.

    `evaluate` gives the loss of the whole network's answer. The first weighing leaves losses as they are; every other
    one moves a tenth of the factors of the best so far, at least one.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    sizes = (len(table.entries), len(table.groups))
    weighing = np.zeros(sum(sizes))
    best: tuple[Selection, float] | None = None
    seen: list[Selection] = []
    for number in range(tries):
        moved = weighing.copy()
        if number:
            places = random.integers(len(moved), size=max(len(moved) // 10, 1))
            moved[places] += SPREAD * random.standard_normal(len(places))
        factors = np.exp(moved)
        selection = choose(table, budget_ms=budget_ms, weighing=(factors[: sizes[0]], factors[sizes[0] :]))
        if selection is None:
            return None
        if selection in seen:
            continue
        seen.append(selection)
        loss = evaluate(selection)
        if best is None or loss < best[1]:
            best, weighing = (selection, loss), moved
    return best


Found = tuple[float, Selection]


def _descend(
    with_channels: Callable[[tuple[int, ...]], Found | None], start: tuple[int, ...], shares: range
) -> Found | None:
    """From `start` group by group to the share that is best beside those of the others, until none changes."""
    best = with_channels(start)
    is_moving = best is not None
    while best is not None and is_moving:
        is_moving = False
        for group in range(len(start)):
            channels = best[1].channels
            other_shares = (share for share in shares if share != channels[group])
            others = (with_channels((*channels[:group], share, *channels[group + 1 :])) for share in other_shares)
            better = min((one for one in others if one is not None), key=lambda one: one[0], default=best)
            if better[0] < best[0]:
                best, is_moving = better, True
    return best
