"""The tuning database's file: one of SQLite per user, safe for several processes, and its tables."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from clprune.errors import StoreError
from clprune.kernels.earlier_hashes import EARLIER_HASHES

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on

SCHEMA_VERSION = 4

_SCHEMA = """
CREATE TABLE IF NOT EXISTS device (
    device TEXT PRIMARY KEY, platform_vendor TEXT NOT NULL, platform_name TEXT NOT NULL, vendor TEXT NOT NULL,
    name TEXT NOT NULL, driver_version TEXT NOT NULL, type TEXT NOT NULL, architecture TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS measurement (
    device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL,
    problem TEXT NOT NULL, workload TEXT NOT NULL,
    tile TEXT NOT NULL, time_ms REAL, invalidity TEXT NOT NULL, timestamp TEXT NOT NULL,
    origin TEXT NOT NULL DEFAULT 'measured', measured_problem TEXT NOT NULL DEFAULT '',
    build_ms REAL, runs_ms TEXT NOT NULL DEFAULT '[]', relative_error REAL,
    PRIMARY KEY (device, kernel, source_hash, problem, workload, tile));
CREATE TABLE IF NOT EXISTS best (
    device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL,
    problem TEXT NOT NULL, workload TEXT NOT NULL,
    kept_share REAL NOT NULL, unit_rows INTEGER NOT NULL, tile TEXT NOT NULL, time_ms REAL,
    default_time_ms REAL, clprune_version TEXT NOT NULL, timestamp TEXT NOT NULL,
    origin TEXT NOT NULL DEFAULT 'measured', measured_problem TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (device, kernel, source_hash, problem, workload));
CREATE TABLE IF NOT EXISTS checked (
    device TEXT NOT NULL, kernel TEXT NOT NULL, source_hash TEXT NOT NULL, tile TEXT NOT NULL,
    is_right INTEGER NOT NULL, timestamp TEXT NOT NULL,
    PRIMARY KEY (device, kernel, source_hash, tile));
"""

# What of an older version is dropped: all of version 1, made before the first release; times of version 2, which were
# taken with warm caches and say little of a network (clprune/tuning/caches.py).
_DROPPED = {1: ("measurement", "best", "checked", "device"), 2: ("measurement", "best")}
_MODE_TRIES, _MODE_PAUSE_S = 100, 0.02


class StoreWarning(UserWarning):
    """The tuning database cannot be used; everything works without, only slower."""


class Database:
    """An open file of tuning results; a context manager. Raises StoreError where the file is of a newer version or no
    database.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create `path`; None keeps everything in memory."""
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        where = path or ":memory:"
        self._connection = sqlite3.connect(where, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except (sqlite3.OperationalError, StoreError):
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StoreError(f"not a tuning database: {error}; delete or move it", path=path or "memory") from error

    def _prepare(self) -> None:
        self._use_write_ahead_log()
        self._connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last results, no more
        if self._version() == SCHEMA_VERSION:
            return
        with self.transaction():  # several processes may be here at once: ask again
            version = self._version()
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"schema version {version}, this clprune reads up to {SCHEMA_VERSION}: "
                    "update clprune or move the file",
                    path=self.path or "memory",
                )
            for table in _DROPPED.get(version, ()):
                self._connection.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMA.strip().split(";"):
                if statement.strip():
                    self._connection.execute(statement)
            if 0 < version < 4:
                self._rename_hashes()
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _rename_hashes(self) -> None:
        """What version 3 kept under earlier hashes of sources that are still the same stays valid."""
        renamed = [(today, kernel, earlier) for kernel, (earlier, today) in EARLIER_HASHES.items()]
        for table in ("measurement", "best", "checked"):
            statement = f"UPDATE OR IGNORE {table} SET source_hash=? WHERE kernel=? AND source_hash=?"
            self._connection.executemany(statement, renamed)

    def _use_write_ahead_log(self) -> None:
        """Readers and a writer need not wait for each other then.

        SQLite's timeout does not cover this change of a new file, which several processes may open at once. Where it
        stays locked everything works without.
        """
        for _ in range(_MODE_TRIES):
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                time.sleep(_MODE_PAUSE_S)

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, also against other processes. Raises StoreError where nothing can be written."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreError(f"cannot be written: {error}", path=self.path or "memory") from error
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def select(self, columns: str, table: str, *, order: str = "", **wanted: str | None) -> list[tuple[Any, ...]]:
        """`columns` of the rows whose columns called as in `wanted`, None aside, have these values."""
        condition, values = _condition(wanted)
        return self._connection.execute(f"SELECT {columns} FROM {table} WHERE {condition} {order}", values).fetchall()

    def delete(self, table: str, **wanted: str | None) -> int:
        """Delete the rows that `select` finds; returns how many."""
        condition, values = _condition(wanted)
        return self._connection.execute(f"DELETE FROM {table} WHERE {condition}", values).rowcount

    def put(self, table: str, row: Mapping[str, Any], *, is_replacing: bool = True) -> int:
        """Add a row, or replace that of the same key if `is_replacing`; returns how many were added."""
        otherwise = "REPLACE" if is_replacing else "IGNORE"
        marks = ",".join("?" * len(row))
        return self.write(
            f"INSERT OR {otherwise} INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        )

    def write(self, statement: str, values: Sequence[Any]) -> int:
        """Change rows; returns how many. Where nothing can be written that is a warning, and 0."""
        try:
            return self._connection.execute(statement, values).rowcount
        except sqlite3.OperationalError as error:  # read-only, full, locked for longer than anyone should
            message = f"{self.path}: the tuning database cannot be written ({error}); this result is not kept"
            warnings.warn(message, StoreWarning, stacklevel=4)
            return 0

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _condition(wanted: Mapping[str, str | None]) -> tuple[str, tuple[str, ...]]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return " AND ".join(f"{name}=?" for name in given) or "1", tuple(given.values())
