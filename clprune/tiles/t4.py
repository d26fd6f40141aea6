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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clprune.errors import StoreError, TileError, UsageError, shown
from clprune.files import write_atomically
from clprune.json_input import read_json
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.earlier_hashes import todays_hash
from clprune.tiles.records import (
    COMPILE,
    CONSTRAINTS,
    CORRECT,
    CORRECTNESS,
    IMPORTED,
    MEASURED,
    RUNTIME,
    TIMEOUT,
    Best,
    Key,
    Measurement,
    StoredDevice,
    parameters_from,
)
from clprune.tiles.store import Store
from clprune.version import __version__

T4_VERSION = "1.0.0"
_INVALIDITIES = (CORRECT, COMPILE, RUNTIME, CORRECTNESS, TIMEOUT, CONSTRAINTS)
_KEY_FIELDS = tuple(field.name for field in dataclasses.fields(Key))


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a document holds: devices by key, candidates, winners."""

    devices: Mapping[str, StoredDevice]
    measurements: tuple[Measurement, ...]
    best: tuple[Best, ...]


def from_store(store: Store, *, kernel: str | None = None, device: str | None = None) -> Results:
    """Everything in the database, or what belongs to one kernel or device key."""
    best = tuple(store.all_best(kernel=kernel, device=device))
    measurements = tuple(store.all_measurements(kernel=kernel, device=device))
    used = {winner.key.device for winner in best} | {measurement.key.device for measurement in measurements}
    return Results(
        devices={key: stored for key, stored in store.devices().items() if key in used},
        measurements=measurements,
        best=best,
    )


def into_store(store: Store, results: Results, *, path: str | Path = "results") -> int:
    """Add what the database lacks, marked as imported; what was measured here stays. Returns the candidates added.

    Raises StoreError, naming `path`, for what is no tile of today's kernel: nothing is added then.
    """
    _check_tiles(results, path)
    added = 0
    with store.transaction():
        known = store.devices()
        for key, device in results.devices.items():
            if key not in known:
                store.add_device(device)
        for measurement in results.measurements:
            added += store.put_measurement(_imported(measurement), is_replacing=False)
        for best in results.best:
            store.put_best(_imported(best), is_replacing=False)
    return added


def _check_tiles(results: Results, path: str | Path) -> None:
    """Results of unknown kernels, or of other versions of one, stay as they are: nothing makes a tile of them."""
    items = [(item.key, item.tile) for item in results.measurements] + [(item.key, item.tile) for item in results.best]
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
    winners = {(best.key, best.tile): best for best in results.best}
    entries = []
    for measurement in results.measurements:
        entries.append(_entry(measurement, winners.pop((measurement.key, measurement.tile), None)))
    for best in winners.values():  # predicted, or imported without its measurements
        candidate = Measurement(
            key=best.key,
            tile=best.tile,
            time_ms=best.time_ms,
            timestamp=best.timestamp,
            origin=best.origin,
            measured_problem=best.measured_problem,
        )
        entries.append(_entry(candidate, best))
    devices = {key: dataclasses.asdict(device) for key, device in results.devices.items()}
    return {
        "schema_version": T4_VERSION,
        "metadata": {"clprune_version": __version__, "devices": devices},
        "results": entries,
    }


def _entry(measurement: Measurement, best: Best | None) -> dict[str, Any]:
    own: dict[str, Any] = dataclasses.asdict(measurement.key)
    own |= {"origin": measurement.origin, "measured_problem": measurement.measured_problem}
    if best is not None:
        names = ("kept_share", "unit_rows", "time_ms", "default_time_ms", "clprune_version", "timestamp", "origin")
        own["best"] = {name: getattr(best, name) for name in names}
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
    reader = _Reader(path=path)
    metadata = document.get("metadata")
    devices = metadata.get("devices") if isinstance(metadata, dict) else None
    measurements, winners = [], []
    for number, entry in enumerate(document["results"]):
        try:
            measurement, best = reader.entry(entry, f"results[{number}]")
        except TileError as error:
            raise StoreError(f"results[{number}]: {error}", path=path) from error
        measurements.append(measurement)
        winners += [best] if best is not None else []
    return Results(
        devices=reader.devices(devices if isinstance(devices, dict) else {}),
        measurements=tuple(measurements),
        best=tuple(winners),
    )


def read_t4(path: str | Path) -> Results:
    """The results in a `.json` or `.json.gz` file. Raises StoreError."""
    return from_document(read_json(path, error=StoreError), path=path)


def write_t4(path: str | Path, results: Results) -> None:
    """Write a file, compressed where its name ends in `.gz`; equal results give equal bytes. Raises FileError."""
    text = json.dumps(to_document(results), indent=1).encode()
    write_atomically(path, gzip.compress(text, mtime=0) if str(path).endswith(".gz") else text)


def _imported(item: Any) -> Any:
    """The same with its origin told, unless it was a prediction."""
    return dataclasses.replace(item, origin=IMPORTED if item.origin == "measured" else item.origin)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads parts of a document from a file that may hold anything."""

    path: str | Path

    def devices(self, devices: Mapping[str, Any]) -> dict[str, StoredDevice]:
        names = [field.name for field in dataclasses.fields(StoredDevice)]
        found = {}
        for key, facts in devices.items():
            where = f"device {shown(repr(key))}"
            found[key] = StoredDevice(**self._strings(facts, names, where))
            if found[key].device != key:
                raise StoreError(f"{where} calls itself {shown(repr(found[key].device))}", path=self.path)
        return found

    def entry(self, entry: Any, where: str) -> tuple[Measurement, Best | None]:
        own = entry.get("clprune") if isinstance(entry, dict) else None
        if not isinstance(own, dict):
            raise StoreError(
                f"{where} has no 'clprune': without kernel, problem and device nothing here can use it; "
                "expected a file that `clprune db export` wrote",
                path=self.path,
            )
        key = Key(**self._strings(own, _KEY_FIELDS, where))
        key = dataclasses.replace(key, source_hash=todays_hash(key.kernel, key.source_hash))
        tile, invalidity = entry.get("configuration"), entry.get("invalidity")
        if not isinstance(tile, dict) or not all(
            isinstance(value, int | str) and "\n" not in f"{name}{value}" for name, value in tile.items()
        ):
            raise StoreError(f"{where}.configuration: expected an object of numbers and words", path=self.path)
        if invalidity not in _INVALIDITIES:
            raise StoreError(
                f"{where}.invalidity {shown(repr(invalidity))}: expected {', '.join(_INVALIDITIES)}", path=self.path
            )
        times, runs, rows = entry.get("times", {}), [], entry.get("measurements", [])
        if isinstance(times, dict):
            runs = times.get("runtimes", [])
        if not (isinstance(times, dict) and isinstance(runs, list) and isinstance(rows, list)):
            raise StoreError(
                f"{where}: expected times as an object, runtimes and measurements as lists", path=self.path
            )
        values = {shown(row.get("name")): row.get("value") for row in rows if isinstance(row, dict)}
        measurement = Measurement(
            key=key,
            tile=json.dumps(tile, sort_keys=True),
            time_ms=self._number(values.get("time"), f"{where} time"),
            invalidity=invalidity,
            timestamp=self._text(entry, "timestamp", where),
            origin=self._text(own, "origin", where, MEASURED),
            measured_problem=self._text(own, "measured_problem", where),
            build_ms=self._number(times.get("compilation_time", times.get("compilation")), f"{where} compilation"),
            runs_ms=tuple(float(run) for run in runs if isinstance(run, int | float)),
            relative_error=self._number(values.get("relative_error"), f"{where} relative_error"),
        )
        return measurement, self._best(own.get("best"), measurement, where)

    def _best(self, best: Any, measurement: Measurement, where: str) -> Best | None:
        if best is None:
            return None
        if not isinstance(best, dict):
            raise StoreError(f"{where}.clprune.best: expected an object", path=self.path)
        kept_share = self._number(best.get("kept_share", 1.0), f"{where} kept_share")
        unit_rows = self._number(best.get("unit_rows", 8), f"{where} unit_rows")
        return Best(
            key=measurement.key,
            tile=measurement.tile,
            kept_share=1.0 if kept_share is None else kept_share,
            unit_rows=8 if unit_rows is None else int(unit_rows),
            time_ms=self._number(best.get("time_ms"), f"{where} best time"),
            default_time_ms=self._number(best.get("default_time_ms"), f"{where} default time"),
            clprune_version=self._text(best, "clprune_version", where),
            timestamp=self._text(best, "timestamp", where),
            origin=self._text(best, "origin", where, MEASURED),
            measured_problem=measurement.measured_problem,
        )

    def _number(self, value: Any, where: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StoreError(f"{where}: {shown(repr(value))} is not a number", path=self.path)
        return float(value)

    def _strings(self, values: Any, names: Iterable[str], where: str) -> dict[str, str]:
        """Those of `values`, each of which must be text."""
        return {name: self._text(values if isinstance(values, dict) else {}, name, where, None) for name in names}

    def _text(self, values: Mapping[str, Any], name: str, where: str, default: str | None = "") -> str:
        """One of `values`, text of one line; the keys of devices alone have several."""
        value = values.get(name, default)
        if not isinstance(value, str) or (name != "device" and "\n" in value):
            raise StoreError(f"{where}: {name} is {shown(repr(value))}, expected text", path=self.path)
        return value
