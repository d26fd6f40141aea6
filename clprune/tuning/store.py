"""The tuning database: one SQLite file per user, safe for several processes, harmless to lose.

Every measured candidate is kept (`measurement`), and per problem the winner that was re-measured against the default
(`best`). Both are keyed by device identity, kernel, hash of the kernel's source, problem and workload (what was
removed, in which unit), so nothing stale is ever found.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clprune
from clprune.device import DeviceInfo, device_key
from clprune.errors import StoreError
from clprune.folders import data_folder
from clprune.kernels.base import Kernel, Operation, Workload

SCHEMA_VERSION = 1
DATABASE_NAME = "tuning.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS measurement (
    device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL,
    problem TEXT NOT NULL, workload TEXT NOT NULL,
    tile TEXT NOT NULL, time_ms REAL, invalidity TEXT NOT NULL, timestamp TEXT NOT NULL,
    PRIMARY KEY (device, kernel, source_hash, problem, workload, tile));
CREATE TABLE IF NOT EXISTS best (
    device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL,
    problem TEXT NOT NULL, workload TEXT NOT NULL,
    kept_share REAL NOT NULL, unit_rows INTEGER NOT NULL, tile TEXT NOT NULL, time_ms REAL NOT NULL,
    default_time_ms REAL NOT NULL, clprune_version TEXT NOT NULL, timestamp TEXT NOT NULL,
    PRIMARY KEY (device, kernel, source_hash, problem, workload));
"""

_KEY_MATCHES = "device=? AND kernel=? AND source_hash=? AND problem=? AND workload=?"


class StoreWarning(UserWarning):
    """The tuning database cannot be used; everything works without, only slower."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """Under what a tuning result is kept."""

    device: str
    kernel: str
    source_hash: str
    problem: str
    workload: str

    @property
    def values(self) -> tuple[str, str, str, str, str]:
        return (self.device, self.kernel, self.source_hash, self.problem, self.workload)


def result_key(device: DeviceInfo, kernel: Kernel[Any, Any], operation: Operation, workload: Workload) -> Key:
    """The one function that makes keys, for storing and for finding."""
    return Key(
        device=device_key(device),
        kernel=kernel.name,
        source_hash=kernel.source_hash(),
        problem=operation.key,
        workload=workload.key,
    )


class Store:
    """An open tuning database. Raises StoreError where the file is of a newer version or no database."""

    def __init__(self, path: Path | None) -> None:
        """Open or create `path`; None keeps everything in memory."""
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        where = path or ":memory:"
        self._connection = sqlite3.connect(where, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StoreError(f"not a tuning database: {error}; delete or move it", path=path or "memory") from error

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"schema version {version}, this clprune reads up to {SCHEMA_VERSION}: update clprune or move the file",
                path=self.path or "memory",
            )
        with self.transaction():
            for statement in _SCHEMA.strip().split(";"):
                if statement.strip():
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, also against other processes."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def add_measurement(self, key: Key, tile: Any, *, time_ms: float | None, invalidity: str = "correct") -> None:
        """Keep one candidate's outcome; `time_ms` is None where `invalidity` says why there is no time."""
        self._connection.execute(
            "INSERT OR REPLACE INTO measurement VALUES (?,?,?,?,?,?,?,?,?)",
            (*key.values, _tile_text(tile), time_ms, invalidity, _now()),
        )

    def measurements(self, key: Key, kernel: Kernel[Any, Any]) -> dict[Any, float | None]:
        """Every tile tried under `key` -> milliseconds, or None where it is invalid."""
        rows = self._connection.execute(
            f"SELECT tile, time_ms FROM measurement WHERE {_KEY_MATCHES}",
            key.values,
        )
        tiles = ((_tile_from(kernel, text), time_ms) for text, time_ms in rows)
        return {tile: time_ms for tile, time_ms in tiles if tile is not None}

    def set_best(self, key: Key, tile: Any, *, workload: Workload, time_ms: float, default_time_ms: float) -> None:
        """Keep the winner for `key`."""
        self._connection.execute(
            "INSERT OR REPLACE INTO best VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                *key.values,
                workload.kept_share,
                workload.unit_rows,
                _tile_text(tile),
                time_ms,
                default_time_ms,
                clprune.__version__,
                _now(),
            ),
        )

    def best(self, key: Key, kernel: Kernel[Any, Any]) -> tuple[Any, float] | None:
        """(tile, milliseconds) of the winner under exactly `key`, or None."""
        row = self._connection.execute(
            f"SELECT tile, time_ms FROM best WHERE {_KEY_MATCHES}",
            key.values,
        ).fetchone()
        tile = _tile_from(kernel, row[0]) if row else None
        return None if tile is None else (tile, float(row[1]))

    def nearest_best(self, key: Key, kernel: Kernel[Any, Any], workload: Workload) -> tuple[Any, str] | None:
        """The winner of the same problem with another share removed, the nearest share first, same unit preferred."""
        rows = self._connection.execute(
            "SELECT tile, workload FROM best WHERE device=? AND kernel=? AND source_hash=? AND problem=? "
            "ORDER BY unit_rows<>?, ABS(kept_share-?) LIMIT 1",
            (*key.values[:4], workload.unit_rows, workload.kept_share),
        )
        for text, other in rows:
            tile = _tile_from(kernel, text)
            if tile is not None:
                return tile, str(other)
        return None

    def lookup_for(self, device: DeviceInfo) -> _Lookup:
        """A look-up of tuned tiles on `device` for the planner: exact, else the same problem at another sparsity."""
        return _Lookup(self, device)

    def close(self) -> None:
        self._connection.close()


class _Lookup:
    def __init__(self, store: Store, device: DeviceInfo) -> None:
        self._store, self._device = store, device

    def __call__(self, kernel: Kernel[Any, Any], operation: Operation, workload: Workload) -> tuple[Any, str] | None:
        key = result_key(self._device, kernel, operation, workload)
        exact = self._store.best(key, kernel)
        if exact is not None:
            return exact[0], "tuned"
        near = self._store.nearest_best(key, kernel, workload)
        return None if near is None else (near[0], f"tuned ({near[1]})")


def open_store(path: Path | None = None) -> Store:
    """The user's database (`tuning.sqlite` in the data folder), or one in memory with a warning where that fails."""
    file = path or data_folder() / DATABASE_NAME
    try:
        return Store(file)
    except (OSError, sqlite3.OperationalError) as error:
        message = f"{file}: the tuning database cannot be opened ({error}); going on without"
        warnings.warn(message, StoreWarning, stacklevel=2)
        return Store(None)


def _tile_text(tile: Any) -> str:
    return json.dumps(dataclasses.asdict(tile), sort_keys=True)


def _tile_from(kernel: Kernel[Any, Any], text: str) -> Any | None:
    """The tile, or None where another version of clprune wrote parameters that this one does not have."""
    try:
        return kernel.tile_type(**json.loads(text))
    except (TypeError, ValueError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
