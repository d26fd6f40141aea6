"""The tuning database: found again, never mixed up, shared by processes, harmless where it cannot be used."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from clprune.errors import StoreError
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.catalogue import built_in_kernels, kernel_by_name
from clprune.kernels.earlier_hashes import EARLIER_HASHES
from clprune.kernels.workload import Workload
from clprune.tiles.database import SCHEMA_VERSION, StoreWarning
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import Key, result_key, tile_text
from clprune.tiles.store import DATABASE_NAME, Store, open_store, open_store_for_lookups
from tests.imaginary import imaginary_device

KERNEL = kernel_by_name("connected")
OPERATION, OTHER_OPERATION = KERNEL.sample_operations()[1:3]
DEVICE = imaginary_device()
TILES = [t for t in (*KERNEL.cpu_tiles, *KERNEL.gpu_tiles) if KERNEL.rejection(t, OPERATION, DEVICE) is None]
DENSE, PRUNED = Workload(), Workload(kept_share=0.25, unit_rows=8)


def key(workload: Workload = DENSE, **device_facts: Any) -> Key:
    return result_key(imaginary_device(**device_facts), Offer(kernel=KERNEL, operation=OPERATION, workload=workload))


def set_best(store: Store, tile: Any, workload: Workload = DENSE, *, time_ms: float = 1.0) -> None:
    store.set_best(key(workload), tile, workload=workload, time_ms=time_ms, default_time_ms=2.0)


def test_best_is_found_again_in_another_process_and_session(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / DATABASE_NAME
    store = Store(path)
    set_best(store, TILES[0], time_ms=3.5)
    store.close()
    assert Store(path).best(key(), KERNEL) == (TILES[0], 3.5)


def test_newer_result_replaces_the_older(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    set_best(store, TILES[0], time_ms=3.0)
    set_best(store, TILES[1], time_ms=2.0)
    assert store.best(key(), KERNEL) == (TILES[1], 2.0)


@pytest.mark.parametrize(
    "facts",
    [
        {"driver_version": "1.2.4"},
        {"name": "Example GPU 2"},
        {"vendor": "Other"},
        {"platform_version": "OpenCL 3.1"},
        {"platform_name": "Other"},
    ],
)
def test_another_device_or_driver_is_another_key(facts: dict[str, str]) -> None:
    store = Store(None)
    set_best(store, TILES[0])
    assert store.best(key(**facts), KERNEL) is None
    assert store.best(key(), KERNEL) is not None


def test_a_stranger_finds_nothing() -> None:
    """Another vendor's architecture says nothing about this one."""
    store = Store(None)
    store.add_device(DEVICE)
    set_best(store, TILES[0])
    stranger = imaginary_device(vendor="Other", platform_vendor="Other", name="Other GPU", architecture="other-gpu")
    assert Lookup(store, stranger)(Offer(kernel=KERNEL, operation=OPERATION)) is None


def test_where_the_device_is_plugged_in_does_not_matter() -> None:
    store = Store(None)
    set_best(store, TILES[0])
    assert store.best(key(platform_index=3, device_index=1), KERNEL) is not None


def test_another_problem_source_or_kernel_finds_nothing() -> None:
    store = Store(None)
    set_best(store, TILES[0])
    assert store.best(result_key(DEVICE, Offer(kernel=KERNEL, operation=OTHER_OPERATION)), KERNEL) is None
    assert store.best(dataclasses.replace(key(), source_hash="other"), KERNEL) is None
    assert store.best(dataclasses.replace(key(), kernel="other"), KERNEL) is None


def test_lookup_says_where_a_tile_came_from() -> None:
    """Exactly what was asked for, else something near, else nothing; an exact result wins whatever its time."""
    store = Store(None)
    assert Lookup(store, DEVICE)(Offer(kernel=KERNEL, operation=OPERATION, workload=PRUNED)) is None
    set_best(store, TILES[0])
    assert Lookup(store, DEVICE)(Offer(kernel=KERNEL, operation=OPERATION)) == (TILES[0], "tuned")
    near = Lookup(store, DEVICE)(Offer(kernel=KERNEL, operation=OPERATION, workload=PRUNED))
    assert near is not None
    assert near[0] == TILES[0]
    assert near[1].startswith("tuned")
    assert near[1] != "tuned"
    set_best(store, TILES[2], PRUNED, time_ms=100.0)
    assert Lookup(store, DEVICE)(Offer(kernel=KERNEL, operation=OPERATION, workload=PRUNED)) == (TILES[2], "tuned")


def test_measurements_keep_failures() -> None:
    store = Store(None)
    store.add_measurement(key(), TILES[0], time_ms=1.5)
    store.add_measurement(key(), TILES[1], time_ms=None, invalidity="correctness")
    store.add_measurement(key(PRUNED), TILES[2], time_ms=9.0)
    assert store.measurements(key(), KERNEL) == {TILES[0]: 1.5, TILES[1]: None}


def test_tiles_of_another_version_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = Store(path)
    for text in ('{"unknown_parameter": 3}', "[1, 2]", "not json"):
        store.forget()
        store.add_measurement(key(), TILES[0], time_ms=1.0)
        set_best(store, TILES[0])
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE measurement SET tile=?", (text,))
            connection.execute("UPDATE best SET tile=?", (text,))
        assert store.measurements(key(), KERNEL) == {}
        assert store.best(key(), KERNEL) is None
        assert Lookup(store, DEVICE)(Offer(kernel=KERNEL, operation=OPERATION, workload=PRUNED)) is None


def test_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=f"schema version {SCHEMA_VERSION + 1}, this clprune reads up to") as caught:
        Store(path)
    assert str(path) in str(caught.value)


def test_times_of_warm_caches_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = Store(path)
    store.add_device(DEVICE)
    store.add_measurement(key(), TILES[0], time_ms=1.0)
    set_best(store, TILES[0])
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=2")
    store = Store(path)
    assert store.measurements(key(), KERNEL) == {}
    assert store.best(key(), KERNEL) is None
    assert len(store.devices()) == 1


@pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)
def test_earlier_hashes_are_those_of_todays_sources(kernel: Kernel[Any, Any]) -> None:
    """Where a hash moves: write the new one where the generated OpenCL C is the same, else remove the line."""
    if kernel.name in EARLIER_HASHES:
        assert EARLIER_HASHES[kernel.name][-1] == kernel.source_hash()


@pytest.mark.parametrize("schema_version", [3, SCHEMA_VERSION])
def test_results_under_earlier_hashes_stay_valid_but_not_stale_ones(tmp_path: Path, schema_version: int) -> None:
    path = tmp_path / "a.sqlite"
    earlier, *_, today = EARLIER_HASHES[KERNEL.name]
    store = Store(path)
    for source_hash, tile in ((earlier, TILES[0]), ("stale", TILES[1])):
        old = dataclasses.replace(key(), source_hash=source_hash)
        store.add_measurement(old, tile, time_ms=1.0)
        store.set_best(old, tile, workload=PRUNED, time_ms=1.0, default_time_ms=2.0)
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={schema_version}")
    store = Store(path)
    now = dataclasses.replace(key(), source_hash=today)
    assert store.best(now, KERNEL) == (TILES[0], 1.0)
    assert store.measurements(now, KERNEL) == {TILES[0]: 1.0}
    assert len(store.all_best()) == 2


def test_check_of_an_earlier_source_says_nothing_of_todays(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    earlier = EARLIER_HASHES[KERNEL.name][0]
    with Store(path) as store:
        store.set_best(
            dataclasses.replace(key(), source_hash=earlier),
            TILES[0],
            workload=DENSE,
            time_ms=1.0,
            default_time_ms=2.0,
        )
        store.set_right(DEVICE, KERNEL, TILES[0], is_right=True)
        store.set_right(DEVICE, KERNEL, TILES[1], is_right=True)
        store.write("UPDATE checked SET source_hash=? WHERE tile=?", (earlier, tile_text(TILES[0])))
    with Store(path) as store:
        assert store.best(key(), KERNEL) == (TILES[0], 1.0)
        assert [store.is_right(DEVICE, KERNEL, tile) for tile in TILES[:2]] == [None, True]
        assert len(list(store.select("tile", "checked", {}))) == 1


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_text("This is a letter to a friend.\n" * 100)
    with pytest.raises(StoreError, match=r"not a tuning database.*delete or move it"):
        Store(path)
    assert path.read_text().startswith("This is a letter")


def test_someone_elses_database_is_not_touched(tmp_path: Path) -> None:
    """A failed transaction leaves the file as it was."""
    store = Store(tmp_path / "a.sqlite")
    with pytest.raises(KeyError), store.transaction():
        set_best(store, TILES[0])
        raise KeyError
    assert store.best(key(), KERNEL) is None


def test_folder_that_cannot_be_made_costs_look_ups_a_warning_only(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    path = in_the_way / "folder" / DATABASE_NAME
    with pytest.warns(StoreWarning, match="the tuning database cannot be opened: Not a directory; going on without"):
        store = open_store_for_lookups(path)
    set_best(store, TILES[0])
    assert store.best(key(), KERNEL) == (TILES[0], 1.0)
    with pytest.raises(StoreError, match="cannot be opened: Not a directory"):
        open_store(path, to_write=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_a_failure_of_who_writes(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(folder / DATABASE_NAME, to_write=True)


def test_default_place_is_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "data"))
    for to_write in (False, True):
        with open_store(to_write=to_write) as store:
            assert store.path == tmp_path / "data" / DATABASE_NAME
        assert store.path.exists() == to_write


def _write_many(path: Path, number: int, barrier: Any) -> None:
    """One of several processes that open a new database and write to it at the same time."""
    barrier.wait()
    store = Store(path)
    for turn in range(25):
        mine = dataclasses.replace(key(), problem=f"problem {number} {turn}")
        store.add_measurement(mine, TILES[0], time_ms=1.0 + turn)
        with store.transaction():
            store.set_best(mine, TILES[0], workload=DENSE, time_ms=1.0, default_time_ms=2.0)
            store.set_best(key(), TILES[number % 3], workload=DENSE, time_ms=1.0, default_time_ms=2.0)
    store.close()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [context.Process(target=_write_many, args=(path, number, barrier)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM best").fetchone() == (101,)
        assert connection.execute("SELECT COUNT(*) FROM measurement").fetchone() == (100,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
