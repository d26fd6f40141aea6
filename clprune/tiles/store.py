"""What tuning found, in the user's database: every measured candidate, and per problem the winner.

A winner (`best`) was measured again beside the default. Both are keyed by device identity, kernel, hash of the
kernel's source, problem and workload (what was removed, in which unit), so nothing stale is ever found. `device` keeps
what look-ups on other devices compare; `checked` keeps which tiles of other devices gave right answers on this one. The
database is harmless to lose.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clprune.device import DeviceInfo, device_key
from clprune.folders import data_folder
from clprune.kernels.base import Kernel
from clprune.kernels.workload import Workload
from clprune.tiles.database import Database, StoreWarning
from clprune.tiles.records import MEASURED, Best, Key, Measurement, StoredDevice, tile_from, tile_text
from clprune.version import __version__

DATABASE_NAME = "tuning.sqlite"


class Store(Database):
    """An open tuning database."""

    def add_device(self, device: DeviceInfo | StoredDevice) -> None:
        """Keep what look-ups from other devices compare."""
        stored = StoredDevice.of(device) if isinstance(device, DeviceInfo) else device
        self.put("device", vars(stored))

    def devices(self) -> dict[str, StoredDevice]:
        """Every device with results, by its key."""
        names = _names(StoredDevice)
        rows = self.select(", ".join(names), "device")
        return {row[0]: StoredDevice(**dict(zip(names, row, strict=True))) for row in rows}

    # --- measurements ---

    def add_measurement(self, key: Key, tile: Any, *, time_ms: float | None, **facts: Any) -> None:
        """Keep one candidate's outcome; `facts` are further fields of Measurement."""
        self.put_measurement(Measurement(key=key, tile=tile_text(tile), time_ms=time_ms, **facts))

    def put_measurement(self, measurement: Measurement, *, is_replacing: bool = True) -> int:
        """Keep `measurement`, in place of an earlier one of the same tile if `is_replacing`; returns 1 if it is new."""
        row = _row(measurement) | {"runs_ms": json.dumps(measurement.runs_ms)}
        return self.put("measurement", row, is_replacing=is_replacing)

    def measurements(self, key: Key, kernel: Kernel[Any, Any]) -> dict[Any, float | None]:
        """Every tile tried under `key` -> milliseconds, or None where it is invalid."""
        rows = self.select("tile, time_ms", "measurement", **vars(key))
        tiles = ((tile_from(kernel, text), time_ms) for text, time_ms in rows)
        return {tile: time_ms for tile, time_ms in tiles if tile is not None}

    def all_measurements(self, *, kernel: str | None = None, device: str | None = None) -> Iterator[Measurement]:
        """Every measurement, or those of one kernel or device key, oldest problem first."""
        for row in self._records("measurement", Measurement, kernel=kernel, device=device):
            yield Measurement(**row | {"runs_ms": tuple(json.loads(row["runs_ms"]))})

    def keys(self, *, kernel: str) -> list[Key]:
        """Every key of one kernel under which something was measured."""
        names = _names(Key)
        rows = self.select(f"DISTINCT {', '.join(names)}", "measurement", kernel=kernel)
        return [Key(**dict(zip(names, row, strict=True))) for row in rows]

    # --- winners ---

    def set_best(self, key: Key, tile: Any, *, workload: Workload, **facts: Any) -> None:
        """Keep the winner for `key`; `facts` are further fields of Best."""
        facts |= {"kept_share": workload.kept_share, "unit_rows": workload.unit_rows}
        self.put_best(Best(key=key, tile=tile_text(tile), **facts))

    def move_best(self, key: Key, tile: Any, *, time_ms: float) -> None:
        """Give the winner under `key` another tile and time; the default's time moves along, as it was measured beside
        the winner. Nothing happens where there is none.
        """
        default = "MAX(?, default_time_ms*?/time_ms)"  # rounding must not make it the faster one
        columns = vars(key)
        matches = " AND ".join(f"{name}=?" for name in columns)
        statement = f"UPDATE best SET tile=?, default_time_ms={default}, time_ms=?, timestamp=? WHERE {matches}"
        self.write(statement, (tile_text(tile), time_ms, time_ms, time_ms, now_text(), *columns.values()))

    def put_best(self, best: Best, *, is_replacing: bool = True) -> int:
        """Keep `best`, in place of an earlier one under its key if `is_replacing`; returns 1 if it is new."""
        row = _row(best) | {"clprune_version": best.clprune_version or __version__}
        return self.put("best", row, is_replacing=is_replacing)

    def best(self, key: Key, kernel: Kernel[Any, Any]) -> tuple[Any, float] | None:
        """(tile, milliseconds) of the winner that was measured under exactly `key`, or None."""
        for text, time_ms in self.select("tile, time_ms", "best", origin=MEASURED, **vars(key)):
            tile = tile_from(kernel, text)
            return None if tile is None or time_ms is None else (tile, float(time_ms))
        return None

    def all_best(self, *, kernel: str | None = None, device: str | None = None) -> list[Best]:
        """Every winner, or those of one kernel or device key."""
        return [Best(**row) for row in self._records("best", Best, kernel=kernel, device=device)]

    def _records(
        self, table: str, type_: type[Measurement] | type[Best], **wanted: str | None
    ) -> Iterator[dict[str, Any]]:
        """Rows, the oldest first, as keyword arguments of `type_`."""
        of_key, others = _names(Key), [name for name in _names(type_) if name != "key"]
        for row in self.select(", ".join((*of_key, *others)), table, order="ORDER BY rowid", **wanted):
            values = iter(row)
            key = Key(**{name: next(values) for name in of_key})
            yield {"key": key, **dict(zip(others, values, strict=True))}

    def forget(self, *, kernel: str | None = None, device: str | None = None, problem: str | None = None) -> int:
        """Delete the results of one kernel, device key or problem, or all; returns how many measurements went.

        What was learnt about tiles of other devices goes too, unless only a problem is forgotten.
        """
        with self.transaction():
            count = self.delete("measurement", kernel=kernel, device=device, problem=problem)
            self.delete("best", kernel=kernel, device=device, problem=problem)
            if problem is None:
                self.delete("checked", kernel=kernel, device=device)
            without_results = "device NOT IN (SELECT device FROM measurement UNION SELECT device FROM best)"
            self.write(f"DELETE FROM device WHERE {without_results}", ())
        return count

    # --- tiles of other devices, tried on this one ---

    def is_right(self, device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any) -> bool | None:
        """Whether `tile` gave right answers on `device`; None where nobody has looked."""
        found = self.select("is_right", "checked", **_checked(device, kernel, tile))
        return bool(found[0][0]) if found else None

    def set_right(self, device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any, *, is_right: bool) -> None:
        """Keep the outcome of a check."""
        outcome = {"is_right": int(is_right), "timestamp": now_text()}
        self.put("checked", _checked(device, kernel, tile) | outcome)


def open_store(path: Path | None = None) -> Store:
    """The user's database (`tuning.sqlite` in the data folder), or one in memory with a warning where that fails.

    Use it as a context manager, or close it.
    """
    file = path or data_folder() / DATABASE_NAME
    try:
        return Store(file)
    except (OSError, sqlite3.OperationalError) as error:
        message = f"{file}: the tuning database cannot be opened ({error}); going on without"
        warnings.warn(message, StoreWarning, stacklevel=2)
        return Store(None)


def now_text() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _names(type_: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(type_)]


def _row(value: Measurement | Best) -> dict[str, Any]:
    """Column -> value, the key's columns first; what has no time yet gets that of now."""
    columns = {name: content for name, content in vars(value).items() if name != "key"}
    return vars(value.key) | columns | {"timestamp": value.timestamp or now_text()}


def _checked(device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any) -> dict[str, Any]:
    names = {"device": device_key(device), "kernel": kernel.name, "source_hash": kernel.source_hash()}
    return names | {"tile": tile_text(tile)}
