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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from clprune.device import DeviceInfo, device_key
from clprune.errors import DamagedStoreError, StoreError, TileError, UsageError
from clprune.folders import data_folder
from clprune.json_input import parse_json
from clprune.kernels.base import Kernel
from clprune.kernels.workload import Workload
from clprune.tiles.database import ADVICE, Database, StoreWarning, condition_of, set_aside
from clprune.tiles.records import (
    IMPORTED,
    MEASURED,
    Best,
    Key,
    Measurement,
    Outline,
    StoredDevice,
    tile_from,
    tile_text,
)
from clprune.version import __version__

DATABASE_NAME = "tuning.sqlite"

#: Rows of winners of which outlines can be made.
_HAS_OUTLINE = """
    typeof(problem) = 'text' AND typeof(workload) = 'text' AND typeof(origin) = 'text'
    AND typeof(kept_share) = 'real' AND kept_share BETWEEN 0 AND 1
    AND typeof(unit_rows) = 'integer' AND unit_rows BETWEEN 1 AND 0x7fffffff"""

_Record = TypeVar("_Record", Key, Measurement, Best, StoredDevice)


class Store(Database):
    """An open tuning database."""

    def add_device(self, device: DeviceInfo | StoredDevice) -> None:
        """Keep what look-ups from other devices compare."""
        stored = StoredDevice.of(device) if isinstance(device, DeviceInfo) else device
        self.put("device", vars(stored))

    def devices(self) -> dict[str, StoredDevice]:
        """Every device with results, by its key."""
        return {device.device: device for device in self._records("device", StoredDevice, {})}

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
        rows = self.select("tile, time_ms", "measurement", vars(key) | {"origin": origin})
        tiles = ((tile_from(kernel, text), time_ms) for text, time_ms in rows)
        return {tile: time_ms for tile, time_ms in tiles if tile is not None and (time_ms is None or _is_time(time_ms))}

    def all_measurements(self, **wanted: str | None) -> Iterator[Measurement]:
        """Every measurement, or those whose keys have these values, the oldest first."""
        return self._records("measurement", Measurement, wanted)

    def keys(self, *, device: str, kernel: str) -> list[Key]:
        """Every key of one device's kernel under which something was measured."""
        return list(self._records("measurement", Key, {"device": device, "kernel": kernel}, is_distinct=True))

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
        wanted = vars(key) | {"origin": MEASURED}
        for text, time_ms in self.select("tile, time_ms", "best", wanted) if self.is_own else ():
            tile = tile_from(kernel, text)
            return (tile, float(time_ms)) if tile is not None and _is_time(time_ms) else None
        return None

    def all_best(self, **wanted: str | None) -> list[Best]:
        """Every winner, or those whose keys have these values."""
        return list(self._records("best", Best, wanted))

    def outlines(self, device: str, kernel: str, source_hash: str) -> list[Outline]:
        """What of a device's winners says how near they are to a problem."""
        key = {"device": device, "kernel": kernel, "source_hash": source_hash}
        return [Outline(*row) for row in self.select(", ".join(Outline._fields), "best", key, condition=_HAS_OUTLINE)]

    def has_winner(self, device: str, kernel: str) -> bool:
        """Whether a device has any of this kernel, of whatever source."""
        return any(self.select("1", "best", {"device": device, "kernel": kernel}, order="LIMIT 1"))

    def _records(
        self,
        table: str,
        type_: type[_Record],
        wanted: Mapping[str, str | None],
        *,
        is_distinct: bool = False,
        order: str = "rowid",
    ) -> Iterator[_Record]:
        """Rows in this order, the oldest first, read as they are taken; those that cannot be what they should are
        passed over, with one warning for each table.
        """
        own: list[str] = [name for name in _names(type_) if name != "key"]
        of_key: list[str] = _names(Key) if "key" in _names(type_) else []
        columns = ", ".join((*of_key, *own))
        wrong = ""
        what = (f"DISTINCT {columns}", "") if is_distinct else (columns, f"ORDER BY {order}")
        for row in self.select(what[0], table, wanted, order=what[1]):
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
                wrong = wrong or str(error)
                continue
            yield record
        if wrong and table not in self._told:
            self._told.add(table)
            message = f"{self.path}: rows of {table} make no sense and are passed over, the first as its {wrong}"
            warnings.warn(message, StoreWarning, stacklevel=4)

    # --- problem after problem, in the order of their keys: what reads so holds one of them at a time ---

    def counts(self, device: str, *, kernel: str | None) -> Iterator[tuple[Key, int, int]]:
        """Of every problem of a device, how many candidates were tried, and how many of them have a time."""
        names, (matches, values) = ", ".join(_names(Key)), condition_of({"device": device, "kernel": kernel})
        statement = f"SELECT {names}, COUNT(*), COUNT(time_ms) FROM measurement WHERE {matches} GROUP BY {names}"
        for *key, tried, valid in self.rows(f"{statement} ORDER BY {names}", values):
            with suppress(TileError):
                yield Key(**dict(zip(_names(Key), key, strict=True))), tried, valid

    def winners(self, device: str, *, kernel: str | None) -> Iterator[Best]:
        """Those of a device."""
        return self._records("best", Best, {"device": device, "kernel": kernel}, order=", ".join(_names(Key)))

    def candidates(self, device: str, *, kernel: str | None) -> Iterator[Measurement]:
        """All measurements of a device."""
        order = ", ".join((*_names(Key), "tile"))
        return self._records("measurement", Measurement, {"device": device, "kernel": kernel}, order=order)

    def has_results(self, device: str, *, kernel: str | None) -> bool:
        """Whether there is anything of a device."""
        wanted = {"device": device, "kernel": kernel}
        return any(any(self.select("1", table, wanted, order="LIMIT 1")) for table in ("measurement", "best"))

    # --- forgetting ---

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
        found = list(self.select("is_right", "checked", _checked(device, kernel, tile)))
        return {(0,): False, (1,): True}.get(found[0]) if found else None

    def set_right(self, device: DeviceInfo, kernel: Kernel[Any, Any], tile: Any, *, is_right: bool) -> None:
        """Keep the outcome of a check."""
        outcome = {"is_right": int(is_right), "timestamp": now_text()}
        self.put("checked", _checked(device, kernel, tile) | outcome)


class _Patient(Store):
    """A database for look-ups, which nothing depends on: what cannot be read is not there, and one line says why."""

    _is_given_up = _is_full = False

    def rows(self, statement: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """What can be read of what is selected."""
        if self._is_given_up:
            return
        try:
            yield from super().rows(statement, values)
        except StoreError as error:
            self._is_given_up = True
            self.close()
            _go_on_without(error)

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
