"""Hostile tiles and results by every door: the database, T4 files, tables of kernels, messages to workers.

Each is refused, or verified before it is used; and no byte of any reaches a source.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clprune.errors import StoreError
from clprune.kernels import base
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.catalogue import built_in_kernels, kernel_by_name
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.tiles.database import StoreWarning
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import IMPORTED, MEASURED, Best, Key, Measurement, result_key, tile_from
from clprune.tiles.store import Store
from clprune.tiles.t4 import from_document, from_store, into_store, to_document
from clprune.tuning.transfer import similar_problems, starts_from
from clprune.tuning.trial import Evaluator
from tests.imaginary import imaginary_device
from tests.tuning.kernels import ODD, OddOperation, OddTile

DEVICE = imaginary_device()
INJECTED = "0); printf(1); PREFETCH(u"
HOSTILE = (INJECTED, "", "\x1b[31m", 1.5, 1e400, float("nan"), True, None, [], [1], {"a": 1}, 0, -1, 2**31, 10**400)

each_kernel = pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)


@pytest.fixture
def nothing_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "render", lambda *_, **__: pytest.fail("something was rendered"))


def offer_of(kernel: Kernel[Any, Any]) -> Offer:
    return Offer(kernel=kernel, operation=kernel.sample_operations()[0])


def hostile_tiles(kernel: Kernel[Any, Any]) -> Iterator[dict[str, Any]]:
    """One of the kernel's own tiles with one of its parameters replaced, each by each value that is not declared."""
    own = dataclasses.asdict(kernel.safe_tile(kernel.sample_operations()[0]))
    for name in own:
        for value in HOSTILE:
            if type(value) is not int or value not in kernel.parameters[name]:
                yield own | {name: value}


@each_kernel
@pytest.mark.usefixtures("nothing_rendered")
def test_no_tile_of_a_database(kernel: Kernel[Any, Any]) -> None:
    """Not even where it says that it was measured here."""
    store, offer = Store(None), offer_of(kernel)
    store.add_device(DEVICE)
    key = result_key(DEVICE, offer)
    for parameters in hostile_tiles(kernel):
        text = json.dumps(parameters)
        store.put_best(Best(key=key, kept_share=1.0, unit_rows=8, tile=text, time_ms=1.0, default_time_ms=2.0))
        store.put_measurement(Measurement(key=key, tile=text, time_ms=1.0))
        assert tile_from(kernel, text) is None
        assert Lookup(store, DEVICE)(offer) is None
        assert store.best(key, kernel) is None
    assert store.measurements(key, kernel) == {}
    other = dataclasses.replace(key, problem=key.problem + " of another")
    assert starts_from(similar_problems(store, other, kernel)) == []


@each_kernel
@pytest.mark.usefixtures("nothing_rendered")
def test_no_tile_of_a_file(kernel: Kernel[Any, Any]) -> None:
    """The file is refused, with its name and the parameter's, and nothing of it is kept."""
    store, offer = Store(None), offer_of(kernel)
    store.add_device(DEVICE)
    store.set_best(result_key(DEVICE, offer), kernel.safe_tile(offer.operation), workload=Workload(),
                   time_ms=1.0, default_time_ms=1.0)  # fmt: skip
    document = to_document(from_store(store))
    into_store(Store(None), from_document(document, path="good.json"), path="good.json")
    for parameters in hostile_tiles(kernel):
        document["results"][0]["configuration"] = parameters
        other = Store(None)
        with pytest.raises(StoreError, match=r"^bad\.json: .*(expected|is not)") as caught:
            into_store(other, from_document(document, path="bad.json"), path="bad.json")
        assert len(str(caught.value)) < 400
        assert "\x1b" not in str(caught.value)
        assert (other.all_best(), list(other.all_measurements())) == ([], [])


@each_kernel
def test_every_tile_of_a_kernels_tables_is_declared(kernel: Kernel[Any, Any]) -> None:
    for tile in (*kernel.cpu_tiles, *kernel.gpu_tiles):
        assert kernel.tile_of(dataclasses.asdict(tile)) == tile


@each_kernel
@pytest.mark.usefixtures("nothing_rendered")
def test_no_tile_of_a_message_to_a_worker(kernel: Kernel[Any, Any]) -> None:
    operation = kernel.sample_operations()[0]
    own = kernel.safe_tile(operation)
    worker = Evaluator(None)  # type: ignore[arg-type]  # no device is reached
    worker.set_task(kernel, operation, kernel.sample(operation, Workload()))
    for parameters in hostile_tiles(kernel):
        trial = worker.prepare(dataclasses.replace(own, **parameters), None)
        assert (getattr(trial, "time_ms", 0), getattr(trial, "invalidity", "")) == (None, "constraints")


COLUMNS = ("kept_share", "unit_rows", "time_ms", "default_time_ms", "origin", "measured_problem", "problem", "workload")
VALUES = (
    "text",
    "",
    b"\x00\xff",
    0,
    -1,
    -1.5,
    1e308,
    2**62,
    float("inf"),
    "n" + "9" * 5000,
    "kept0 unit0x1",
    "\x1b[31m",
)


@pytest.mark.filterwarnings("ignore::clprune.tiles.database.StoreWarning")
@pytest.mark.parametrize("column", COLUMNS)
def test_a_database_whose_columns_hold_anything(column: str, tmp_path: Path) -> None:
    """Such a row is passed over; whatever happens, what is found is the tile that was put there, or none."""
    kernel = kernel_by_name("connected")
    offer = offer_of(kernel)
    tile, key = kernel.gpu_tiles[0], result_key(DEVICE, offer)
    for number, value in enumerate(VALUES):
        path = tmp_path / f"{number}.sqlite"
        with Store(path) as store:
            store.add_device(DEVICE)
            store.set_best(key, tile, workload=Workload(), time_ms=1.0, default_time_ms=2.0)
            for other in kernel.gpu_tiles[:3]:
                store.add_measurement(key, other, time_ms=1.0)
        with sqlite3.connect(path) as connection:
            for table in ("best", "measurement"):
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                if column in names:
                    connection.execute(f"UPDATE {table} SET {column}=?", (value,))
        with Store(path) as store:
            lookup = Lookup(store, DEVICE)
            assert (lookup(offer) or (tile,))[0] == tile
            assert (lookup.time_ms(offer) or 1.0) > 0
            store.best(key, kernel)
            similar_problems(store, dataclasses.replace(key, problem="n1 k2 m3"), kernel)
            list(store.all_measurements())
            to_document(from_store(store))


@pytest.mark.parametrize("where", ["measurement", "best"])
@pytest.mark.parametrize("word", ["zzz", "shipped"])
def test_origins_that_nobody_can_claim_are_refused(word: str, where: str, tmp_path: Path) -> None:
    """A word that nobody knows is not trusted more than one that everybody does, nor the library's own."""
    kernel = kernel_by_name("connected")
    offer, tile = offer_of(kernel), kernel.gpu_tiles[0]
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.add_device(DEVICE)
        store.set_best(result_key(DEVICE, offer), tile, workload=Workload(), time_ms=1.0, default_time_ms=2.0)
        store.add_measurement(result_key(DEVICE, offer), tile, time_ms=1.0)
        document = to_document(from_store(store))
    own = document["results"][0]["clprune"]
    (own if where == "measurement" else own["best"])["origin"] = word
    expected = rf"a\.json: results\[0\]: origin is '{word}'; expected one of measured, offline, imported$"
    with pytest.raises(StoreError, match=expected):
        from_document(document, path="a.json")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {where} SET origin=?", (word,))
    with (
        Store(path) as store,
        pytest.warns(StoreWarning, match=f"rows of {where} make no sense .*origin is '{word}'"),
    ):
        assert where == "measurement" or Lookup(store, DEVICE)(offer) is None
        list(store.all_measurements())


@pytest.mark.parametrize("mood", ["wrong", "stray", "syntax"])
@pytest.mark.parametrize("origin", ["imported", "offline", "another driver's"])
def test_what_was_not_measured_here_is_verified(device_context: Session, origin: str, mood: str) -> None:
    """And what is wrong is not used: whoever says whatever of it."""
    info, store, offer = device_context.info, Store(None), Offer(kernel=ODD, operation=OddOperation())
    there = dataclasses.replace(info, driver_version="9.9") if origin.startswith("another") else info
    store.add_device(there)
    word = MEASURED if there is not info else origin
    key = result_key(there, offer)
    store.set_best(key, OddTile(mood=mood), workload=Workload(), time_ms=1.0, default_time_ms=2.0, origin=word)
    assert Lookup(store, info, session=device_context)(offer) is None


def test_imported_times_are_not_taken_for_measured_ones() -> None:
    """A tile is not built into a network, or called the fastest, because a file says that it took no time."""
    kernel = kernel_by_name("connected")
    key: Key = result_key(DEVICE, offer_of(kernel))
    store = Store(None)
    store.add_measurement(key, kernel.gpu_tiles[0], time_ms=1.0)
    store.add_measurement(key, kernel.gpu_tiles[1], time_ms=1e-9, origin=IMPORTED)
    assert store.measurements(key, kernel, origin=MEASURED) == {kernel.gpu_tiles[0]: 1.0}
