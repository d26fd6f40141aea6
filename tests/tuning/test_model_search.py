"""The search by a model: starts first, each tile once, quickly to the best, helped by what similar problems taught."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest

from clprune.tuning.features import encode
from clprune.tuning.model_search import ModelSearch, Similar


@dataclass(frozen=True, kw_only=True)
class Tile:
    rows: int
    columns: int
    order: str = "a"


PARAMETERS = {"rows": (1, 2, 4, 8, 16, 32), "columns": (0, 1, 2, 4, 8), "order": ("a", "b")}
SPACE = [
    Tile(rows=rows, columns=columns, order=order) for rows, columns, order in itertools.product(*PARAMETERS.values())
]


def cost(tile: Tile, *, best_rows: int = 8, best_columns: int = 4) -> float | None:
    """Smooth in the logarithms, best at 8 x 4 "b"; the largest tiles are invalid."""
    if tile.rows == 32 and tile.columns == 8:
        return None
    rows = math.log2(tile.rows / best_rows)
    columns = math.log2((tile.columns or 0.5) / best_columns)
    return (1 + 0.2 * rows**2 + 0.1 * columns**2) * (1.0 if tile.order == "b" else 1.3)


BEST = Tile(rows=8, columns=4, order="b")


def course(search: ModelSearch, *, batch: int = 1, most: int = 1000) -> list[Tile]:
    """Tiles in the order in which they were tried."""
    tried: list[Tile] = []
    while len(tried) < most:
        tiles = [tile for tile in (search.ask() for _ in range(batch)) if tile is not None]
        if not tiles:
            break
        for tile in tiles:
            search.tell(tile, cost(tile))
        tried += tiles
    return tried


def test_encoding_is_logarithmic_and_spans_one() -> None:
    points = encode([SPACE[0], SPACE[-1], Tile(rows=4, columns=1, order="a")], parameters=PARAMETERS)
    assert points.tolist() == [[0, 0, 0], [1, 1, 1], [pytest.approx(0.4), pytest.approx(0.25), 0]]


def test_each_tile_once_and_then_none() -> None:
    search = ModelSearch(SPACE, parameters=PARAMETERS)
    assert sorted(map(repr, course(search, batch=3))) == sorted(map(repr, SPACE))
    assert search.ask() is None
    assert search.best == (BEST, 1.0)


@pytest.mark.parametrize("batch", [1, 4])
def test_best_is_found_early(batch: int) -> None:
    """Within a third of the space for every seed; at random it would take half of it on average."""
    for seed in range(5):
        assert BEST in course(ModelSearch(SPACE, parameters=PARAMETERS, seed=seed), batch=batch, most=20)


def test_starts_come_first_and_unknown_ones_not_at_all() -> None:
    starts = [Tile(rows=2, columns=2), Tile(rows=99, columns=2), Tile(rows=1, columns=0), Tile(rows=2, columns=2)]
    tried = course(ModelSearch(SPACE, parameters=PARAMETERS, starts=starts), most=5)
    assert tried[:2] == [starts[0], starts[2]]
    assert starts[1] not in tried


def test_what_is_known_is_not_tried_again() -> None:
    known = {tile: cost(tile) for tile in SPACE[:50]} | {Tile(rows=99, columns=1): 0.1}
    search = ModelSearch(SPACE, parameters=PARAMETERS, known=known)
    assert search.best is not None and search.best[0] in SPACE
    assert set(course(search)) == set(SPACE[50:])


def test_similar_problems_show_the_way() -> None:
    """Their best need not be ours; the model finds ours beside it sooner than without."""
    times = {tile: cost(tile, best_rows=16) for tile in SPACE}
    similar = [Similar(times_ms=times, distance=1)]

    def found_after(similar: list[Similar]) -> int:
        courses = [
            course(ModelSearch(SPACE, parameters=PARAMETERS, similar=similar, seed=seed), most=25) for seed in range(5)
        ]
        return sum(tried.index(BEST) for tried in courses)

    assert found_after(similar) < found_after([])


def test_similar_problems_of_another_space_do_no_harm() -> None:
    times: dict[object, float | None] = {Tile(rows=3, columns=1): 1.0, Tile(rows=1, columns=1): None}
    search = ModelSearch(SPACE, parameters=PARAMETERS, similar=[Similar(times_ms=times, distance=0.5)])
    assert BEST in course(search, most=30)


def test_expected_improvement_falls_as_the_best_is_known() -> None:
    search = ModelSearch(SPACE, parameters=PARAMETERS)
    assert search.expected_improvement == math.inf
    course(search, most=12)
    early = search.expected_improvement
    course(search, most=40)
    assert search.expected_improvement < early


def test_all_invalid_is_survived() -> None:
    search = ModelSearch(SPACE, parameters=PARAMETERS)
    count = 0
    while (tile := search.ask()) is not None:
        search.tell(tile, None)
        count += 1
    assert count == len(SPACE)
    assert search.best is None


def test_large_spaces_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clprune.tuning.model_search.MOST_PREDICTED", 12)
    monkeypatch.setattr("clprune.tuning.model_search.MOST_OBSERVED", 20)
    tried = course(ModelSearch(SPACE, parameters=PARAMETERS, seed=1), batch=2)
    assert len(tried) == len(set(tried)) == len(SPACE)
    assert tried.index(BEST) < 40


def test_outcomes_may_come_in_any_order_and_unasked() -> None:
    """The model that hears them late or out of order still ends where the others do."""
    search = ModelSearch(SPACE, parameters=PARAMETERS)
    course(search, most=8)
    waiting = [search.ask() for _ in range(4)]
    search.tell(SPACE[0], cost(SPACE[0]))
    for tile in reversed(waiting):
        search.tell(tile, cost(tile))
    rest = course(search)
    assert search.best == (BEST, 1.0)
    assert len(rest) == len(set(rest))
    assert not set(rest) & {*waiting}


def test_same_seed_same_course() -> None:
    one, other = (course(ModelSearch(SPACE, parameters=PARAMETERS, seed=3), batch=2, most=20) for _ in range(2))
    assert one == other
