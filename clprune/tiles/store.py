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
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from clprune.device import DeviceInfo, device_key
from clprune.errors import DamagedStoreError, StoreError, TileError, UsageError
from clprune.folders import data_folder
from clprune.json_input import parse_json
from clprune.kernels.base import Kernel
from clprune.kernels.workload import Workload
from clprune.tiles.database import ADVICE, Database, StoreWarning, set_aside
from clprune.tiles.records import IMPORTED, MEASURED, Best, Key, Measurement, StoredDevice, tile_from, tile_text
from clprune.version import __version__

DATABASE_NAME = "tuning.sqlite"

_Record = TypeVar("_Record", Key, Measurement, Best, StoredDevice)


class Store(Database):
    """An open tuning database."""

    def add_device(self, device: DeviceInfo | StoredDevice) -> None:
        """Keep what look-ups from other devices compare."""
        stored = StoredDevice.of(device) if isinstance(device, DeviceInfo) else device
        self.put("device", vars(stored))

    def devices(self) -> dict[str, StoredDevice]:
        """Every device with results, by its key."""
        return {device.device: device for device in self._records("device", StoredDevice)}

    # --- measurements ---

    def add_measurement(self, key: Key, tile: Any, *, time_ms: float | None, **facts: Any) -> None:
        """Keep one candidate's outcome; `facts` are further fields of Measurement."""
        self.put_measurement(Measurement(key=key, tile=tile_text(tile), time_ms=time_ms, **facts))

    def put_measurement(self, measurement: Measurement, *, is_replacing: bool = True) -> int:
        """Keep `measurement`, in place of an earlier one of the same tile if `is_replacing`; returns 1 if it is new."""
        row = _row(measurement) | {"runs_ms": json.dumps(measurement.runs_ms)}
        return self.put("measurement", row, is_replacing=is_replacing)

    def measurements(self, key: Key, kernel: Kernel[Any, Any], *, origin: str | None = None) -> dict[Any, float | None]:
        """Every tile tried under `key` -> milliseconds, or None where it is invalid; of all origins or of one."""
        rows = self.select("tile, time_ms", "measurement", origin=origin, **vars(key))
        tiles = ((tile_from(kernel, text), time_ms) for text, time_ms in rows)
        return {tile: time_ms for tile, time_ms in tiles if tile is not None and (time_ms is None or _is_time(time_ms))}

    def all_measurements(self, *, kernel: str | None = None, device: str | None = None) -> Iterator[Measurement]:
        """Every measurement, or those of one kernel or device key, oldest problem first."""
        return self._records("measurement", Measurement, kernel=kernel, device=device)

    def keys(self, *, kernel: str) -> list[Key]:
        """Every key of one kernel under which something was measured."""
        return list(self._records("measurement", Key, is_distinct=True, kernel=kernel))

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
        for text, time_ms in self.select("tile, time_ms", "best", origin=MEASURED, **vars(key)) if self.is_own else ():
            tile = tile_from(kernel, text)
            return (tile, float(time_ms)) if tile is not None and _is_time(time_ms) else None
        return None

    def all_best(self, *, kernel: str | None = None, device: str | None = None) -> list[Best]:
        """Every winner, or those of one kernel or device key."""
        return list(self._records("best", Best, kernel=kernel, device=device))

    def _records(
        self, table: str, type_: type[_Record], *, is_distinct: bool = False, **wanted: str | None
    ) -> Iterator[_Record]:
        """Rows, the oldest first; those that cannot be what they should are passed over with one warning for all."""
        own: list[str] = [name for name in _names(type_) if name != "key"]
        of_key: list[str] = _names(Key) if "key" in _names(type_) else []
        columns, order = ", ".join((*of_key, *own)), "" if is_distinct else "ORDER BY rowid"
        wrong: list[str] = []
        for row in self.select(f"DISTINCT {columns}" if is_distinct else columns, table, order=order, **wanted):
            values: dict[str, Any] = dict(zip((*of_key, *own), row, strict=True))
            try:
                if of_key:
                    values["key"] = Key(**{name: values.pop(name) for name in of_key})
                if not self.is_own and values.get("origin") == MEASURED:
                    values["origin"] = IMPORTED
                if "runs_ms" in values:
                    values["runs_ms"] = tuple(parse_json(values["runs_ms"]))
                record = type_(**values)
            except (TileError, TypeError, UsageError) as error:
                wrong.append(str(error))
                continue
            yield record
        if wrong:
            message = f"{self.path}: {len(wrong)} rows of {table} make no sense and are passed over ({wrong[0]})"
            warnings.warn(message, StoreWarning, stacklevel=4)

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
        """Whether `tile` gave right answers on `device`; None where nobody has looked, or another installation has."""
        if not self.is_own:
            return None
        found = self.select("is_right", "checked", **_checked(device, kernel, tile))
        return {(0,): False, (1,): True}.get(found[0]) if found else None

    def set_right(self, device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any, *, is_right: bool) -> None:
        """Keep the outcome of a check."""
        outcome = {"is_right": int(is_right), "timestamp": now_text()}
        self.put("checked", _checked(device, kernel, tile) | outcome)


class _Patient(Store):
    """A database for look-ups, which nothing depends on: what cannot be read is not there, and one line says why."""

    _is_given_up = _is_full = False

    def select(self, columns: str, table: str, *, order: str = "", **wanted: str | None) -> list[tuple[Any, ...]]:
        if self._is_given_up:
            return []
        try:
            return super().select(columns, table, order=order, **wanted)
        except StoreError as error:
            self._is_given_up = True
            self.close()
            _go_on_without(error)
            return []

    def write(self, statement: str, values: Sequence[Any]) -> int:
        """What is learnt of a tile can be learnt again."""
        if self._is_given_up or self._is_full:
            return 0
        try:
            return super().write(statement, values)
        except StoreError:
            self._is_full = True
            return 0


def open_store(path: Path | None = None, *, to_write: bool = False) -> Store:
    """The user's database (`tuning.sqlite` in the data folder), or that at `path`, to read or to write.

    There is none to read before the first tuning: an empty one then. A damaged file is set aside under another name,
    with a warning. Raises StoreError where the database cannot be read, or written. Use it as a context manager, or
    close it.
    """
    file = path or data_folder() / DATABASE_NAME
    try:
        return Store(file, to_write=to_write)
    except FileNotFoundError:
        pass
    except DamagedStoreError as error:
        _set_aside(error)
        return open_store(file, to_write=to_write)
    except OSError as error:
        raise StoreError(f"the tuning database cannot be opened: {error.strerror}", path=file) from error
    empty = Store(None)
    empty.path = file
    return empty


def open_store_for_lookups(path: Path | None = None) -> Store:
    """The same for programs that run as well without: where it is held, damaged, of a newer version or somebody else's
    they go on with what is known, after two seconds at most and with one warning.
    """
    file = path or data_folder() / DATABASE_NAME
    try:
        return _Patient(file, to_write=False)
    except FileNotFoundError:
        return Store(None)
    except StoreError as error:
        return _go_on_without(error)
    except OSError as error:
        return _go_on_without(StoreError(f"the tuning database cannot be opened: {error.strerror}", path=file))


def _go_on_without(error: StoreError) -> Store:
    """Set a damaged file aside, warn once; an empty database in its place."""
    message = f"{error}; going on without tuned tiles"
    if isinstance(error, DamagedStoreError):
        with suppress(StoreError):
            _set_aside(error)
            return Store(None)
    warnings.warn(message, StoreWarning, stacklevel=4)
    return Store(None)


def _set_aside(error: DamagedStoreError) -> None:
    """Give the damaged file a name of its own, and say so. Raises the error where that cannot be."""
    try:
        aside = set_aside(error)
    except OSError as refusal:
        raise error from refusal
    if aside is not None:
        warnings.warn(f"{str(error).removesuffix(ADVICE)}: it is set aside as {aside.name}", StoreWarning, stacklevel=4)


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


def _is_time(value: object) -> bool:
    """Whether a database's column holds milliseconds that something can have taken."""
    return isinstance(value, int | float) and 0 < value < float("inf")
