"""A database of many results: look-ups read what they need, by the keys' index, and find the same as in a small one."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from clprune.geometry import ConnectedProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, ConnectedTile, connected_operation
from clprune.kernels.workload import Workload
from clprune.tiles import winners
from clprune.tiles.database import Database, StoreWarning
from clprune.tiles.distance import shape_distance, workload_distance
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import Key, result_key, tile_text
from clprune.tiles.store import Store, open_store, open_store_for_lookups
from clprune.tiles.t4 import export, from_store, read_t4
from clprune.tuning.transfer import similar_problems
from clprune.workflow.tune import Tried, stored_problem
from tests.imaginary import imaginary_device

DEVICE = imaginary_device(architecture="arch-1")
DEVICES = (
    DEVICE,
    imaginary_device(architecture="arch-1", driver_version="9.9"),
    imaginary_device(architecture="arch-1", name="Example GPU Lite"),
    imaginary_device(architecture="arch-2", name="Stranger", vendor="Other"),
)
TILES = [ConnectedTile(vector_width=1, vectors=1, group_m=32, group_k=8, k_unroll=unroll) for unroll in (1, 2, 4)]
COUNT = 600


def offer(inputs: int, outputs: int = 256, workload: Workload | None = None) -> Offer:
    problem = ConnectedProblem(batch=1, inputs=inputs, outputs=outputs)
    return Offer(kernel=CONNECTED, operation=connected_operation(problem), workload=workload or Workload())


def put(store: Store, device: Any, what: Offer, tile: ConnectedTile = TILES[0]) -> Key:
    key = result_key(device, what)
    store.set_best(key, tile, workload=what.workload, time_ms=1.0, default_time_ms=2.0)
    for measured in TILES:
        store.add_measurement(key, measured, time_ms=1.0)
    return key


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This device's winners and others', of this kernel and another, for problems near and far."""
    file, chance = tmp_path_factory.mktemp("data") / "tuning.sqlite", random.Random(1)
    with Store(file) as store, store.transaction():
        for device in DEVICES:
            store.add_device(device)
        for number in range(COUNT):
            workload = Workload(kept_share=chance.randint(1, 20) / 20, unit_rows=chance.choice((1, 8)))
            what = offer(chance.randint(1, 1 << 14), chance.randint(1, 1 << 10), workload)
            put(store, DEVICES[number % len(DEVICES)], what, TILES[number % len(TILES)])
        put(store, DEVICE, offer(512), TILES[1])
    return file


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statement of every row that is read."""
    read: list[str] = []
    of_database = Database.rows

    def rows(store: Database, statement: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        for row in of_database(store, statement, values):
            read.append(statement)
            yield row

    monkeypatch.setattr(Database, "rows", rows)
    return read


def plans_of(path: Path, statements: Sequence[str]) -> str:
    """How SQLite goes about each of them."""
    with closing(sqlite3.connect(path)) as connection:
        lines = []
        for statement in statements:
            values = [""] * statement.count("?")
            lines += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    return "\n".join(lines)


def test_what_was_tuned_for_exactly_this_is_all_that_is_read(path: Path, rows_read: list[str]) -> None:
    with open_store_for_lookups(path) as store:
        lookup = Lookup(store, DEVICE)
        rows_read.clear()
        assert lookup(offer(512)) == (TILES[1], "tuned")
        assert lookup.time_ms(offer(512)) == 1.0
        assert lookup(offer(512)) == (TILES[1], "tuned")
    assert len(rows_read) <= len(DEVICES) + 2  # which have winners of the kernel, and the winner


def test_time_of_another_sparsity_needs_no_other_problem(path: Path, rows_read: list[str]) -> None:
    pruned = offer(512, workload=Workload(kept_share=0.9, unit_rows=8))
    with open_store_for_lookups(path) as store:
        lookup = Lookup(store, DEVICE)
        rows_read.clear()
        assert lookup.time_ms(pruned) is not None
    assert len(rows_read) <= len(DEVICES) + 2


def test_nothing_is_read_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the start, nor by look-ups, nor by what tuning asks of each problem: all goes by the keys' index."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    with monkeypatch.context() as watched:
        watched.setattr(sqlite3, "connect", traced)
        near = offer(500)
        with open_store_for_lookups(path) as store:
            lookup = Lookup(store, DEVICE)
            assert lookup(offer(512)) == (TILES[1], "tuned")
            found = lookup(near)
            assert found is not None and " for n1 k" in found[1]
            assert (lookup.time_ms(near), lookup.estimate_ms(near)) == (None, None)
            assert similar_problems(store, result_key(DEVICE, near), CONNECTED)
            tuned = stored_problem(store, DEVICE, Tried(offer=offer(512), evaluations=1))
            assert tuned is not None and tuned.default_ms == 2.0
    asked = [text for text in statements if re.match(r"\s*(SELECT|WITH)", text) and not text.endswith("LIMIT 0")]
    assert len(asked) > 5
    plans = plans_of(path, asked)
    assert "SEARCH best" in plans and "SEARCH measurement" in plans
    assert not re.search(r"SCAN (best|measurement|checked)\b", plans)


def nearest_by_hand(store: Store, what: Offer) -> str:
    """The tile's text of the nearest of all."""
    kinships = {result_key(device, what).device: number for number, device in enumerate(DEVICES[:3])}
    ranked = []
    for number, best in enumerate(store.all_best()):
        workload = Workload(kept_share=best.kept_share, unit_rows=best.unit_rows)
        distance = shape_distance(best.key.problem, what.operation.key) + workload_distance(what.workload, workload)
        if best.key.device in kinships and distance <= winners.FARTHEST:
            is_exact = (best.key.problem, best.key.workload) == (what.operation.key, what.workload.key)
            ranked.append((not is_exact, kinships[best.key.device], round(distance, 9), number, best.tile))
    return min(ranked)[-1]


def test_nearest_of_many_is_that_of_all_compared(path: Path) -> None:
    chance = random.Random(2)
    with open_store(path) as store:
        lookup = Lookup(store, DEVICE)
        for _ in range(15):
            workload = Workload(kept_share=chance.uniform(0.05, 1.0), unit_rows=8)
            what = offer(chance.randint(1, 1 << 13), chance.randint(1, 1 << 9), workload)
            found = lookup(what)
            assert found is not None
            assert tile_text(found[0]) == nearest_by_hand(store, what)


def test_of_many_that_cannot_run_here_the_nearest_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winners, "MOST_NEAR", 5)
    too_large = ConnectedTile(vector_width=1, vectors=1, group_m=64, group_k=8)
    with Store(None) as store:
        store.add_device(DEVICES[2])
        for inputs in range(513, 517):
            put(store, DEVICES[2], offer(inputs), too_large)
        put(store, DEVICES[2], offer(700), TILES[2])
        found = Lookup(store, DEVICE)(offer(512))
        assert found is not None and found[0] == TILES[2]
        put(store, DEVICES[2], offer(517), too_large)
        assert Lookup(store, DEVICE)(offer(512)) is None


def test_lists_are_read_in_the_order_of_the_index(path: Path, rows_read: list[str]) -> None:
    """Nothing is sorted, so that nothing has to be held; what nobody takes is not read."""
    with open_store(path) as store:
        streams = store.counts, store.winners, store.candidates
        rows_read.clear()
        for stream in streams:
            assert len(list(islice(stream(result_key(DEVICE, offer(512)).device, kernel="connected"), 5))) == 5
        assert len(rows_read) == 15
        plans = plans_of(path, list(dict.fromkeys(rows_read)))
        assert plans.count("SEARCH ") == 3 and "TEMP B-TREE" not in plans
        everything = [list(stream(device, kernel=None)) for stream in streams for device in store.devices()]
        assert sum(map(len, everything[: len(DEVICES)])) == len(store.all_best())
        assert sum(map(len, everything[len(DEVICES) : -len(DEVICES)])) == len(store.all_best())
        assert sum(map(len, everything[-len(DEVICES) :])) == len(list(store.all_measurements()))


def test_export_of_a_database_is_that_of_its_results(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        assert export(store, tmp_path / "streamed.json", devices=store.devices()) == (3 * (COUNT + 1), COUNT + 1)
        results = from_store(store)
    read = read_t4(tmp_path / "streamed.json")
    assert read.devices == results.devices
    assert set(read.measurements) == set(results.measurements)
    assert set(read.best) == set(results.best)


def test_export_that_no_import_would_take_says_so(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clprune.tiles.t4.MAX_BYTES", 10_000)
    with open_store(path) as store, pytest.warns(StoreWarning, match="reads at most 10000 with .*db merge"):
        export(store, tmp_path / "large.json.gz", devices=store.devices())
    assert len(read_t4(tmp_path / "large.json.gz").best) == COUNT + 1
