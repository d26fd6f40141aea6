"""The tuning database: one SQLite file per user, safe for several processes, harmless to lose.

Every measured candidate is kept (`measurement`), and per problem the winner that was re-measured against the default
(`best`). Both are keyed by device identity, kernel, hash of the kernel's source, problem and workload (what was
removed, in which unit), so nothing stale is ever found. `device` keeps what look-ups on other devices compare;
`checked` keeps which tiles of other devices gave right answers on this one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clprune.device import DeviceInfo, device_key
from clprune.errors import StoreError
from clprune.folders import data_folder
from clprune.kernels.base import Kernel, Workload
from clprune.kernels.choice import Offer
from clprune.kernels.earlier_hashes import EARLIER_HASHES
from clprune.version import __version__

if TYPE_CHECKING:
    from clprune.opencl import Session
    from clprune.tuning.lookup import Lookup

SCHEMA_VERSION = 4
DATABASE_NAME = "tuning.sqlite"

#: Where a result came from: timed on its device, predicted without one, or read from a file of somebody else's.
MEASURED, OFFLINE, IMPORTED = "measured", "offline", "imported"

#: Why a candidate has no usable time, in the words of the T4 exchange format.
CORRECT, COMPILE, RUNTIME, CORRECTNESS, TIMEOUT, CONSTRAINTS = (
    "correct", "compile", "runtime", "correctness", "timeout", "constraints",
)  # fmt: skip

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
_KEY_COLUMNS = "device, kernel, source_hash, problem, workload"
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


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One candidate's outcome. `tile` is the JSON text of its parameters, `runs_ms` every sample that was taken.

    `time_ms` is None where `invalidity` says why there is no time. `measured_problem` is the key of the smaller
    problem that was timed in place of `key.problem`, or empty.
    """

    key: Key
    tile: str
    time_ms: float | None
    invalidity: str = CORRECT
    timestamp: str = ""
    origin: str = MEASURED
    measured_problem: str = ""
    build_ms: float | None = None
    runs_ms: tuple[float, ...] = ()
    relative_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Best:
    """A winner with what look-ups need. `tile` is JSON text; times are None for one that was never measured.

    `default_time_ms` was measured in turns with the winner.
    """

    key: Key
    kept_share: float
    unit_rows: int
    tile: str
    time_ms: float | None
    default_time_ms: float | None
    clprune_version: str = ""
    timestamp: str = ""
    origin: str = MEASURED
    measured_problem: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredDevice:
    """What is kept of a device, to judge how near another one is."""

    device: str
    platform_vendor: str
    platform_name: str
    vendor: str
    name: str
    driver_version: str
    type: str
    architecture: str

    @classmethod
    def of(cls, info: DeviceInfo) -> StoredDevice:
        """The part of `info` that is kept."""
        facts = {field.name: getattr(info, field.name) for field in dataclasses.fields(cls) if field.name != "device"}
        return cls(device=device_key(info), **facts)

    def is_same_device(self, other: StoredDevice) -> bool:
        """The same device on the same platform, whatever the drivers' versions."""
        return (self.platform_vendor, self.platform_name, self.vendor, self.name) == (
            other.platform_vendor,
            other.platform_name,
            other.vendor,
            other.name,
        )

    def is_same_architecture(self, other: StoredDevice) -> bool:
        return (self.vendor, self.architecture) == (other.vendor, other.architecture)


def result_key(device: DeviceInfo, offer: Offer) -> Key:
    """The one function that makes keys, for storing and for finding: of everything that is not a layout."""
    return Key(
        device=device_key(device),
        kernel=offer.kernel.name,
        source_hash=offer.kernel.source_hash(),
        problem=offer.operation.key,
        workload=offer.workload.key,
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

    # --- devices ---

    def add_device(self, device: DeviceInfo | StoredDevice) -> None:
        """Keep what look-ups from other devices compare."""
        stored = StoredDevice.of(device) if isinstance(device, DeviceInfo) else device
        self._put("device", dataclasses.asdict(stored))

    def devices(self) -> dict[str, StoredDevice]:
        """Every device with results, by its key."""
        names = ", ".join(field.name for field in dataclasses.fields(StoredDevice))
        rows = self._connection.execute(f"SELECT {names} FROM device")
        return {row[0]: StoredDevice(**_named(StoredDevice, row)) for row in rows}

    # --- measurements ---

    def add_measurement(self, key: Key, tile: Any, *, time_ms: float | None, **facts: Any) -> None:
        """Keep one candidate's outcome; `facts` are further fields of Measurement."""
        self.put_measurement(Measurement(key=key, tile=tile_text(tile), time_ms=time_ms, **facts))

    def put_measurement(self, measurement: Measurement, *, is_replacing: bool = True) -> int:
        """Keep `measurement`, in place of an earlier one of the same tile if `is_replacing`; returns 1 if it is new."""
        row = _row(measurement) | {"timestamp": measurement.timestamp or now_text()}
        return self._put("measurement", row | {"runs_ms": json.dumps(measurement.runs_ms)}, is_replacing=is_replacing)

    def measurements(self, key: Key, kernel: Kernel[Any, Any]) -> dict[Any, float | None]:
        """Every tile tried under `key` -> milliseconds, or None where it is invalid."""
        rows = self._connection.execute(f"SELECT tile, time_ms FROM measurement WHERE {_KEY_MATCHES}", key.values)
        tiles = ((tile_from(kernel, text), time_ms) for text, time_ms in rows)
        return {tile: time_ms for tile, time_ms in tiles if tile is not None}

    def all_measurements(self, *, kernel: str | None = None, device: str | None = None) -> Iterator[Measurement]:
        """Every measurement, or those of one kernel or device key, oldest problem first."""
        for row in self._select("measurement", Measurement, kernel=kernel, device=device):
            row["runs_ms"] = tuple(json.loads(row["runs_ms"]))
            yield Measurement(**row)

    def keys(self, *, kernel: str) -> list[Key]:
        """Every key of one kernel under which something was measured."""
        rows = self._connection.execute(f"SELECT DISTINCT {_KEY_COLUMNS} FROM measurement WHERE kernel=?", (kernel,))
        return [Key(**_named(Key, row)) for row in rows]

    # --- winners ---

    def set_best(
        self,
        key: Key,
        tile: Any,
        *,
        workload: Workload,
        time_ms: float | None,
        default_time_ms: float | None,
        origin: str = MEASURED,
        measured_problem: str = "",
    ) -> None:
        """Keep the winner for `key`."""
        self.put_best(
            Best(
                key=key,
                kept_share=workload.kept_share,
                unit_rows=workload.unit_rows,
                tile=tile_text(tile),
                time_ms=time_ms,
                default_time_ms=default_time_ms,
                origin=origin,
                measured_problem=measured_problem,
            )
        )

    def move_best(self, key: Key, tile: Any, *, time_ms: float) -> None:
        """Give the winner under `key` another tile and time; the default's time moves along, as it was measured beside
        the winner. Nothing happens where there is none.
        """
        default = "MAX(?, default_time_ms*?/time_ms)"  # rounding must not make it the faster one
        text = f"UPDATE best SET tile=?, default_time_ms={default}, time_ms=?, timestamp=? WHERE {_KEY_MATCHES}"
        try:
            self._connection.execute(text, (tile_text(tile), time_ms, time_ms, time_ms, now_text(), *key.values))
        except sqlite3.OperationalError as error:
            message = f"{self.path}: the tuning database cannot be written ({error}); this result is not kept"
            warnings.warn(message, StoreWarning, stacklevel=2)

    def put_best(self, best: Best, *, is_replacing: bool = True) -> int:
        """Keep `best`, in place of an earlier one under its key if `is_replacing`; returns 1 if it is new."""
        filled = {
            "clprune_version": best.clprune_version or __version__,
            "timestamp": best.timestamp or now_text(),
        }
        return self._put("best", _row(best) | filled, is_replacing=is_replacing)

    def best(self, key: Key, kernel: Kernel[Any, Any]) -> tuple[Any, float] | None:
        """(tile, milliseconds) of the winner that was measured under exactly `key`, or None."""
        row = self._connection.execute(
            f"SELECT tile, time_ms FROM best WHERE {_KEY_MATCHES} AND origin='{MEASURED}'",
            key.values,
        ).fetchone()
        tile = tile_from(kernel, row[0]) if row else None
        return None if tile is None or row[1] is None else (tile, float(row[1]))

    def all_best(self, *, kernel: str | None = None, device: str | None = None) -> list[Best]:
        """Every winner, or those of one kernel or device key."""
        return [Best(**row) for row in self._select("best", Best, kernel=kernel, device=device)]

    def _put(self, table: str, row: Mapping[str, Any], *, is_replacing: bool = True) -> int:
        marks = ",".join("?" * len(row))
        otherwise = "REPLACE" if is_replacing else "IGNORE"
        statement = f"INSERT OR {otherwise} INTO {table} ({', '.join(row)}) VALUES ({marks})"
        try:
            return self._connection.execute(statement, tuple(row.values())).rowcount
        except sqlite3.OperationalError as error:  # read-only, full, locked for longer than anyone should
            message = f"{self.path}: the tuning database cannot be written ({error}); this result is not kept"
            warnings.warn(message, StoreWarning, stacklevel=3)
            return 0

    def _select(
        self, table: str, type_: type[Measurement] | type[Best], *, kernel: str | None, device: str | None
    ) -> Iterator[dict[str, Any]]:
        """Rows as keyword arguments of `type_`."""
        names = [field.name for field in dataclasses.fields(type_) if field.name != "key"]
        wanted = {"kernel": kernel, "device": device}
        given = {name: value for name, value in wanted.items() if value is not None}
        condition = " AND ".join(f"{name}=?" for name in given) or "1"
        rows = self._connection.execute(
            f"SELECT {_KEY_COLUMNS}, {', '.join(names)} FROM {table} WHERE {condition} ORDER BY rowid",
            tuple(given.values()),
        )
        for row in rows.fetchall():
            key = Key(**_named(Key, row[:5]))
            yield {"key": key, **dict(zip(names, row[5:], strict=True))}

    def forget(self, *, kernel: str | None = None, device: str | None = None, problem: str | None = None) -> int:
        """Delete the results of one kernel, device key or problem, or all; returns how many measurements went.

        What was learnt about tiles of other devices goes too, unless only a problem is forgotten.
        """
        wanted = {"kernel": kernel, "device": device, "problem": problem}
        given = {name: value for name, value in wanted.items() if value is not None}
        condition = " AND ".join(f"{name}=?" for name in given) or "1"
        values = tuple(given.values())
        with self.transaction():
            count = self._connection.execute(f"DELETE FROM measurement WHERE {condition}", values).rowcount
            self._connection.execute(f"DELETE FROM best WHERE {condition}", values)
            if problem is None:
                self._connection.execute(f"DELETE FROM checked WHERE {condition}", values)
            self._connection.execute(
                "DELETE FROM device WHERE device NOT IN (SELECT device FROM measurement UNION SELECT device FROM best)"
            )
        return count

    # --- tiles of other devices, tried on this one ---

    def is_right(self, device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any) -> bool | None:
        """Whether `tile` gave right answers on `device`; None where nobody has looked."""
        row = self._connection.execute(
            "SELECT is_right FROM checked WHERE device=? AND kernel=? AND source_hash=? AND tile=?",
            (device_key(device), kernel.name, kernel.source_hash(), tile_text(tile)),
        ).fetchone()
        return None if row is None else bool(row[0])

    def set_right(self, device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any, *, is_right: bool) -> None:
        """Keep the outcome of a check."""
        identity = {"device": device_key(device), "kernel": kernel.name, "source_hash": kernel.source_hash()}
        found = {"tile": tile_text(tile), "is_right": int(is_right), "timestamp": now_text()}
        self._put("checked", identity | found)

    def lookup_for(self, device: DeviceInfo, *, session: Session | None = None) -> Lookup:
        """A look-up of tiles on `device` for the planner, with the fall-backs that `clprune.tuning.lookup` lists.

        With `session`, a tile that comes from elsewhere is tried on a small problem before it is used.
        """
        from clprune.tuning.lookup import Lookup

        return Lookup(self, device, session=session)

    def close(self) -> None:
        self._connection.close()


def open_store(path: Path | None = None) -> Store:
    """The user's database (`tuning.sqlite` in the data folder), or one in memory with a warning where that fails."""
    file = path or data_folder() / DATABASE_NAME
    try:
        return Store(file)
    except (OSError, sqlite3.OperationalError) as error:
        message = f"{file}: the tuning database cannot be opened ({error}); going on without"
        warnings.warn(message, StoreWarning, stacklevel=2)
        return Store(None)


def tile_text(tile: Any) -> str:
    """A tile's parameters as the database keeps them."""
    return json.dumps(dataclasses.asdict(tile), sort_keys=True)


def tile_from(kernel: Kernel[Any, Any], text: str) -> Any | None:
    """The tile, or None where another version of clprune wrote parameters that this one does not have."""
    try:
        return kernel.tile_type(**json.loads(text))
    except (TypeError, ValueError):
        return None


def _row(value: Measurement | Best) -> dict[str, Any]:
    """Column -> value, the key's five columns first."""
    columns = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name != "key"}
    return dataclasses.asdict(value.key) | columns


def _named(type_: type[Any], values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip((field.name for field in dataclasses.fields(type_)), values, strict=True))


def now_text() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
