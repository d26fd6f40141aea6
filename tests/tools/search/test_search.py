"""Which tile is tried next: starts first, then neighbours of the best, then the rest, each once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tools.search.local_search import LocalSearch, neighbours


@dataclass(frozen=True, kw_only=True)
class Tile:
    a: int
    b: int = 1


PARAMETERS = {"a": (1, 2, 4, 8, 16), "b": (1, 2, 3)}
SPACE = [Tile(a=a, b=b) for a, b in itertools.product(*PARAMETERS.values())]


def search(*, starts: list[Tile] | None = None, seed: int = 0) -> LocalSearch:
    return LocalSearch(SPACE, parameters=PARAMETERS, starts=starts or [], seed=seed)


def cost(tile: Tile) -> float:
    """Best at a=8, b=3."""
    return abs(tile.a - 8) + abs(tile.b - 3) + 1.0


def run(searching: LocalSearch) -> list[Tile]:
    tried = []
    while (tile := searching.ask()) is not None:
        tried.append(tile)
        searching.tell(tile, cost(tile))
    return tried


def test_neighbours_differ_in_one_parameter() -> None:
    found = set(neighbours(Tile(a=2, b=3), PARAMETERS))
    assert found == {Tile(a=a, b=3) for a in (1, 4, 8, 16)} | {Tile(a=2, b=b) for b in (1, 2)}


def test_every_tile_once_and_the_best_is_found() -> None:
    searching = search(starts=[Tile(a=1)])
    tried = run(searching)
    assert sorted(tried, key=repr) == sorted(SPACE, key=repr)
    assert searching.best == (Tile(a=8, b=3), 1.0)
    assert searching.ask() is None


def test_starts_come_first_and_invalid_ones_not_at_all() -> None:
    tried = run(search(starts=[Tile(a=16), Tile(a=99), Tile(a=2, b=2)]))
    assert tried[0] == Tile(a=16)
    assert Tile(a=99) not in tried


def test_walks_downhill_before_it_looks_elsewhere() -> None:
    """From one start the best of 15 is met within the neighbourhoods of two steps, whatever the order within them."""
    for seed in range(5):
        tried = run(search(starts=[Tile(a=1)], seed=seed))
        assert tried.index(Tile(a=8, b=3)) <= 10


def test_invalid_tiles_lead_nowhere() -> None:
    """All but one fail: that one is still found, and failures are not the best."""
    searching = search(starts=[Tile(a=1)])
    while (tile := searching.ask()) is not None:
        searching.tell(tile, 3.0 if tile == Tile(a=16, b=2) else None)
    assert searching.best == (Tile(a=16, b=2), 3.0)


def test_nothing_valid_at_all() -> None:
    searching = search()
    while (tile := searching.ask()) is not None:
        searching.tell(tile, None)
    assert searching.best is None


def test_same_seed_same_order() -> None:
    assert run(search(seed=3)) == run(search(seed=3))
