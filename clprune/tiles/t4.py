"""Tuning results as T4 JSON, the exchange format of Kernel Tuner and others: out of the database and into it.

A document is `{"schema_version": "1.0.0", "metadata": {...}, "results": [...]}`; the results' fields follow
https://github.com/odgaard/TuningSchema (results-schema.json): `timestamp`, `configuration`, `objectives`, `times`
(milliseconds), `invalidity`, `correctness` (1 where the answer was checked and right), `measurements`. The schema says
`times.compilation_time`, Kernel Tuner writes `times.compilation`: both are written, either is read. What the format has
no place for (device, kernel, problem, winners) is under `metadata.devices` and each result's `clprune`.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from clprune.errors import StoreError, TileError, UsageError, shown
from clprune.files import atomic_writer, open_file
from clprune.folders import scratch_folder
from clprune.json_input import MAX_BYTES, MAX_VALUES, count_values, read_json
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.earlier_hashes import todays_hash
from clprune.tiles.database import ADVICE, StoreWarning
from clprune.tiles.records import (
    CORRECT,
    IMPORTED,
    MEASURED,
    Best,
    Key,
    Measurement,
    StoredDevice,
    imported_from,
    parameters_from,
)  # fmt: skip
from clprune.tiles.store import DATABASE_NAME, Store
from clprune.version import __version__

T4_VERSION = "1.0.0"

#: Far above what tuning for years makes.
MAX_DATABASE_BYTES = 1 << 30

#: How a file of SQLite's begins.
_SQLITE = b"SQLite format 3\0"

#: What of a measurement stands beside its key, and what of a winner beside its measurement.
_OWN = ("origin", "measured_problem")
_BEST = ("kept_share", "unit_rows", "time_ms", "default_time_ms", "clprune_version", "timestamp", "origin")


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a document holds: devices by key, candidates, winners."""

    devices: Mapping[str, StoredDevice]
    measurements: tuple[Measurement, ...]
    best: tuple[Best, ...]


def from_store(store: Store) -> Results:
    """Everything in the database."""
    measurements, best = tuple(store.all_measurements()), tuple(store.all_best())
    used = {item.key.device for item in measurements} | {item.key.device for item in best}
    devices = {key: stored for key, stored in store.devices().items() if key in used}
    return Results(devices=devices, measurements=measurements, best=best)


def into_store(store: Store, results: Results, *, path: str | Path) -> int:
    """Add what the database lacks, marked as imported from the file `path` or where that has it from; what was measured
    here stays. Returns the candidates added.

    Raises StoreError, naming `path`, for what is no tile of today's kernel or of a device that nobody has described:
    nothing is added then.
    """
    _check_tiles(results, path)
    added = 0
    with store.transaction():
        known = store.devices()
        _check_devices(results, {*known, *results.devices}, path)
        for key, device in results.devices.items():
            if key not in known:
                store.add_device(device)
        for measurement in results.measurements:
            added += store.put_measurement(_imported(measurement, path), is_replacing=False)
        for best in results.best:
            store.put_best(_imported(best, path), is_replacing=False)
    return added


def _check_devices(results: Results, known: Collection[str], path: str | Path) -> None:
    """Nobody would see them again: lists and look-ups go by what a device is."""
    keys = [item.key for item in results.measurements] + [item.key for item in results.best]
    for device in {key.device for key in keys}.difference(known):
        raise StoreError(
            f"it has results of {shown(repr(device))}, which is not in its metadata.devices; expected a file that "
            "`clprune db export` wrote",
            path=path,
        )


def _check_tiles(results: Results, path: str | Path) -> None:
    """Results of unknown kernels, or of other versions of one, stay as they are: nothing makes a tile of them."""
    found: list[Measurement | Best] = [*results.measurements, *results.best]
    items = [(item.key, item.tile) for item in found]
    for name in {key.kernel for key, _ in items}:
        try:
            kernel = kernel_by_name(name)
        except UsageError:
            continue
        source_hash = kernel.source_hash()
        try:
            for tile in {tile for key, tile in items if (key.kernel, key.source_hash) == (name, source_hash)}:
                kernel.tile_of(parameters_from(tile))
        except TileError as error:
            raise StoreError(str(error), path=path) from error


def to_document(results: Results) -> dict[str, Any]:
    """The document as `json` can write it."""
    return _head(results.devices) | {"results": list(_entries(results.measurements, results.best))}


def _head(devices: Mapping[str, StoredDevice]) -> dict[str, Any]:
    """What stands before the results."""
    facts = {key: vars(device) for key, device in devices.items()}
    return {"schema_version": T4_VERSION, "metadata": {"clprune_version": __version__, "devices": facts}}


def _entries(measurements: Iterable[Measurement], bests: Iterable[Best]) -> Iterator[dict[str, Any]]:
    """Every candidate, with the winner where it is that; then those that were predicted, or imported without their
    measurements.
    """
    winners = {(best.key, best.tile): best for best in bests}
    for measured in measurements:
        yield _entry(measured, winners.pop((measured.key, measured.tile), None))
    for best in winners.values():
        facts = {name: getattr(best, name) for name in ("key", "tile", "time_ms", "timestamp", *_OWN)}
        yield _entry(Measurement(**facts), best)


def _entry(measurement: Measurement, best: Best | None) -> dict[str, Any]:
    own: dict[str, Any] = vars(measurement.key) | {name: getattr(measurement, name) for name in _OWN}
    if best is not None:
        own["best"] = {name: getattr(best, name) for name in _BEST}
    measurements = []
    if measurement.time_ms is not None:
        measurements.append({"name": "time", "value": measurement.time_ms, "unit": "ms"})
    if measurement.relative_error is not None:
        measurements.append({"name": "relative_error", "value": measurement.relative_error, "unit": ""})
    times: dict[str, Any] = {"runtimes": list(measurement.runs_ms)}
    if measurement.build_ms is not None:
        times |= {"compilation": measurement.build_ms, "compilation_time": measurement.build_ms}
    return {
        "timestamp": measurement.timestamp,
        "configuration": parameters_from(measurement.tile),
        "objectives": ["time"],
        "times": times,
        "invalidity": measurement.invalidity,
        "correctness": int(measurement.invalidity == CORRECT and measurement.time_ms is not None),
        "measurements": measurements,
        "clprune": own,
    }


def from_document(document: Any, *, path: str | Path) -> Results:
    """The results of a document. Raises StoreError naming the first thing that is not as it should be."""
    if not isinstance(document, dict) or not isinstance(document.get("results"), list):
        raise StoreError("not a T4 file: expected an object with schema_version and results", path=path)
    version = document.get("schema_version")
    if not isinstance(version, str) or version.split(".")[0] != T4_VERSION.split(".", maxsplit=1)[0]:
        raise StoreError(f"schema_version {shown(repr(version))}: this clprune reads {T4_VERSION}", path=path)
    metadata = document.get("metadata")
    known = metadata.get("devices") if isinstance(metadata, dict) else None
    devices, measurements, winners, where = {}, [], [], ""
    try:
        for key, facts in (known if isinstance(known, dict) else {}).items():
            where = f"device {shown(repr(key))}"
            devices[key] = StoredDevice(**_fields(StoredDevice, facts))
            if devices[key].device != key:
                raise TileError(f"it calls itself {shown(repr(devices[key].device))}")
        for number, entry in enumerate(document["results"]):
            where = f"results[{number}]"
            measurement, best = _from_entry(entry)
            measurements.append(measurement)
            winners += [] if best is None else [best]
    except TileError as error:
        raise StoreError(f"{where}: {error}", path=path) from error
    return Results(devices=devices, measurements=tuple(measurements), best=tuple(winners))


def read_results(path: str | Path) -> Results:
    """The results in a T4 file or in anybody's database, which stays as it is. Raises StoreError."""
    with open_file(path, error=StoreError) as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            return read_t4(path)
    try:
        with scratch_folder("import") as folder:
            copy = folder / DATABASE_NAME
            for ending in ("", "-wal"):
                if not ending or os.path.lexists(f"{path}{ending}"):
                    _copy_bounded(f"{path}{ending}", f"{copy}{ending}")
            with Store(copy) as store:
                return from_store(store)
    except StoreError as error:
        raise StoreError(str(error).removeprefix(f"{error.path}: ").removesuffix(ADVICE), path=path) from error
    except OSError as error:
        raise StoreError(f"cannot be copied to be read: {error.strerror or error}", path=path) from error


def _copy_bounded(path: str, copy: str) -> None:
    with open_file(path, error=StoreError) as file, Path(copy).open("wb") as target:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_DATABASE_BYTES:
            raise StoreError(f"{size} bytes: expected a tuning database of at most {MAX_DATABASE_BYTES}", path=path)
        shutil.copyfileobj(file, target)


def read_t4(path: str | Path) -> Results:
    """The results in a `.json` or `.json.gz` file. Raises StoreError."""
    return from_document(read_json(path, error=StoreError), path=path)


def write_t4(path: str | Path, results: Results) -> None:
    """Write a file, compressed where its name ends in `.gz`; equal results give equal bytes. Raises FileError."""
    _write(path, results.devices, _entries(results.measurements, results.best))


def export(
    store: Store, path: str | Path, *, kernel: str | None = None, devices: Mapping[str, StoredDevice]
) -> tuple[int, int]:
    """The same for what a database has of one kernel or all on `devices`, of which one problem is held at a time.
    Returns how many measurements and winners there are.
    """
    counts = {Measurement: 0, Best: 0}
    used = {key: device for key, device in devices.items() if store.has_results(key, kernel=kernel)}

    def entries() -> Iterator[dict[str, Any]]:
        for device in used:  # one that has its first result meanwhile is not in the head
            measurements: Iterator[Measurement | Best] = store.candidates(device, kernel=kernel)
            in_order = merge(measurements, store.winners(device, kernel=kernel), key=_place)
            for _, of_problem in groupby(in_order, key=_place):
                found = list(of_problem)
                measured = [item for item in found if isinstance(item, Measurement)]
                bests = [item for item in found if isinstance(item, Best)]
                counts[Measurement] += len(measured)
                counts[Best] += len(bests)
                yield from _entries(measured, bests)

    _write(path, used, entries())
    return counts[Measurement], counts[Best]


def _place(item: Measurement | Best) -> tuple[str, ...]:
    return tuple(vars(item.key).values())


def _write(path: str | Path, devices: Mapping[str, StoredDevice], entries: Iterable[dict[str, Any]]) -> None:
    """One result a line. Warns where the file is larger than what `read_t4` takes."""
    size = values = 0
    with atomic_writer(path) as file, ExitStack() as stack:
        is_packed = str(path).endswith(".gz")
        out = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0)) if is_packed else file
        before = json.dumps(_head(devices), indent=1).removesuffix("\n}") + ',\n "results": ['
        for text in chain((before,), _lines(entries), ("\n ]\n}",)):
            data = text.encode()
            size, values = size + len(data), values + count_values(text)
            out.write(data)
    if size > MAX_BYTES or values > MAX_VALUES:
        message = (
            f"{path}: {size} bytes of JSON; `clprune db import` reads at most {MAX_BYTES} with {MAX_VALUES} values: "
            "choose with --kernel or --device, or give others the database itself, for `clprune db merge`"
        )
        warnings.warn(message, StoreWarning, stacklevel=3)


def _lines(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    for number, entry in enumerate(entries):
        yield ("," if number else "") + "\n  " + json.dumps(entry)


def _imported(item: Any, path: str | Path) -> Any:
    """The same with its origin told, unless it was a prediction or has one."""
    is_news = item.origin in (MEASURED, IMPORTED)
    return dataclasses.replace(item, origin=imported_from(path) if is_news else item.origin)


def _fields(type_: type[Any], values: Any) -> dict[str, Any]:
    """What `values`, which may be anything, says of the fields of a record; None for one that must be there."""
    given = values if isinstance(values, dict) else {}
    names = [field.name for field in dataclasses.fields(type_) if field.default is dataclasses.MISSING]
    return {name: given.get(name) for name in names}


def _from_entry(entry: Any) -> tuple[Measurement, Best | None]:
    """One of the results, and the winner that it is. Raises TileError for what is no result; records check the rest."""
    own = entry.get("clprune") if isinstance(entry, dict) else None
    if not isinstance(own, dict):
        raise TileError(
            "no 'clprune': without kernel, problem and device nothing here can use it; "
            "expected a file that `clprune db export` wrote"
        )
    key = Key(**_fields(Key, own))
    key = dataclasses.replace(key, source_hash=todays_hash(key.kernel, key.source_hash))
    tile, times, rows = entry.get("configuration"), entry.get("times", {}), entry.get("measurements", [])
    if not isinstance(tile, dict) or not all(isinstance(value, int | str) for value in tile.values()):
        raise TileError("configuration: expected an object of numbers and words")
    runs = times.get("runtimes", []) if isinstance(times, dict) else None
    if not (isinstance(runs, list) and isinstance(rows, list)):
        raise TileError("expected times as an object, runtimes and measurements as lists")
    values = {shown(row.get("name")): row.get("value") for row in rows if isinstance(row, dict)}
    measurement = Measurement(
        key=key,
        tile=json.dumps(tile, sort_keys=True),
        time_ms=values.get("time"),
        invalidity=entry.get("invalidity"),
        timestamp=entry.get("timestamp", ""),
        build_ms=times.get("compilation_time", times.get("compilation")),
        runs_ms=tuple(float(run) for run in runs if isinstance(run, int | float)),
        relative_error=values.get("relative_error"),
        **{name: own[name] for name in _OWN if name in own},
    )
    best = own.get("best")
    if best is None:
        return measurement, None
    if not isinstance(best, dict):
        raise TileError("clprune.best: expected an object")
    facts: dict[str, Any] = {"kept_share": 1.0, "unit_rows": 8, "time_ms": None, "default_time_ms": None}
    facts |= {name: best[name] for name in _BEST if name in best}
    return measurement, Best(key=key, tile=measurement.tile, measured_problem=measurement.measured_problem, **facts)
