"""Tuning results: T4 files and databases."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from clprune.kernels.base import Offer
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.workload import Workload
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key
from clprune.tiles.state import store_state
from clprune.tiles.store import Store, open_store, open_store_for_lookups
from clprune.tiles.t4 import from_store, into_store, read_t4, write_t4
from tests.fuzz.mutation import mutated_bytes, mutated_json
from tests.fuzz.targets.target import Target
from tests.imaginary import imaginary_device

if TYPE_CHECKING:
    from clprune.opencl import Session


_KERNEL = kernel_by_name("connected")
_DEVICE = imaginary_device()
_WORKLOAD = Workload(kept_share=0.25, unit_rows=16)
_OFFER = Offer(
    kernel=_KERNEL,
    operation=max(_KERNEL.sample_operations(), key=lambda operation: operation.problem.batch),
    workload=_WORKLOAD,
)


def _fill(store: Store) -> None:
    key = result_key(_DEVICE, _OFFER)
    fast, wrong, *_ = _KERNEL.gpu_tiles
    store.add_device(_DEVICE)
    store.add_measurement(key, fast, time_ms=1.5, build_ms=80.0, runs_ms=(1.6, 1.5), relative_error=1e-7)
    store.add_measurement(key, wrong, time_ms=None, invalidity="correctness")
    store.set_best(key, fast, workload=_WORKLOAD, time_ms=1.4, default_time_ms=2.4)


def _use(store: Store) -> str:
    lookup = Lookup(store, _DEVICE)
    found = lookup(_OFFER)
    time_ms = lookup.time_ms(_OFFER)
    assert time_ms is None or time_ms >= 0, "a time below 0"
    results = from_store(store)
    return f"{found is not None} {len(results.measurements)} {len(results.best)}"


def _t4_seeds(folder: Path) -> None:
    with Store(None) as store:
        _fill(store)
        write_t4(folder / "a.json", from_store(store))
        write_t4(folder / "b.json.gz", from_store(store))
    (folder / "b.json.gz").rename(folder / "b.json")  # told by what it holds


def _handle_t4(path: Path, session: Session | None) -> str:
    results = read_t4(path)
    with Store(None) as store:
        into_store(store, results, path=path)
        return _use(store)


def _database_seeds(folder: Path) -> None:
    with Store(folder / "a.sqlite") as store:
        _fill(store)
    for name in ("a.sqlite-wal", "a.sqlite-shm"):
        assert not (folder / name).exists(), "a closed database is one file"


def _mutated_database(random: Random, data: bytes, corpus: Any) -> bytes:
    """One cell or the schema changed by SQLite itself; or bytes changed."""
    if random.randrange(2):
        return mutated_bytes(random, data, corpus)
    values: list[Any] = [None, 0, -1, 0.5, 1e308, 2**62, "", "\n", "{}", "[1e999]", "x" * 5000, b"\xff\0", "imported"]
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as folder:
        path = Path(folder) / "a.sqlite"
        path.write_bytes(data)
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            table = random.choice(tables)
            column = random.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
            statements = [
                f"ALTER TABLE {table} DROP COLUMN {column}",
                f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                f"DROP TABLE {table}",
                f"PRAGMA user_version={random.choice([0, 1, 2, 3, 5, -1, 2**31 - 1])}",
            ]
            if random.randrange(4):
                connection.execute(f"UPDATE OR IGNORE {table} SET {column}=?", (random.choice(values),))
            else:
                connection.execute(random.choice(statements))
            connection.commit()
        return path.read_bytes()


def _handle_database(path: Path, session: Session | None) -> str:
    """Looked at, looked up in, then written to, as `info`, `infer` and `tune` do."""
    with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as folder:
        copy = Path(folder) / "tuning.sqlite"
        copy.write_bytes(path.read_bytes())
        problem = store_state(_DEVICE, path=copy).problem
        with open_store_for_lookups(copy) as store:
            found = _use(store)
        with open_store(copy) as store:
            _fill(store)
            return f"{bool(problem)} {found} {_use(store)}"


TARGETS = [
    Target(name="t4", suffix=".json", seeds=_t4_seeds, handle=_handle_t4, mutate=mutated_json),
    Target(
        name="databases", suffix=".sqlite", seeds=_database_seeds, handle=_handle_database, mutate=_mutated_database
    ),
]
