"""Tiles that come with the library: winners measured on devices of a class, for the shapes of well-known networks.

A table is a JSON file in the folder `tables`, written by `python -m tools.shipped` from tuning runs. It serves devices
of the same driver family with as many lanes: first the one whose caches are most like, others with the problems that it
lacks. What it holds are hints: its tiles pass the same door as everybody's (`Kernel.tile_of`) and are tried on small
problems before their first use. A kernel's source may have changed since: parameters that are new take their defaults.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.errors import StoreError, TileError, UsageError, shown
from clprune.json_input import mapping, read_json, required
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.workload import Workload
from clprune.tiles.records import Key, ShippedBest, StoredDevice, parameters_from

FORMAT = "clprune tiles 1"
TABLES = Path(__file__).resolve().parent / "tables"

#: In place of a tile where none is faster than the kernel's default.
NO_TILE = "{}"

#: How unlike caches are taken to be of which one side is unknown.
_UNKNOWN_CACHE = 4.0


@dataclass(frozen=True, kw_only=True)
class DeviceClass:
    """What devices have in common on which the same tiles are fast: type, driver family, float32 lanes of one
    work-item's vectors, and sizes of data caches, the nearest first.
    """

    type: str
    platform_name: str
    lanes: int
    cache_bytes: tuple[int, ...]

    @classmethod
    def of(cls, device: DeviceInfo) -> DeviceClass:
        lanes = quirks.vector_width(device) if quirks.wants_explicit_vectors(device) else device.simd_width
        return cls(type=device.type, platform_name=device.platform_name, lanes=lanes, cache_bytes=device.cache_bytes)

    def distance(self, other: DeviceClass) -> float:
        """Doublings between the sizes of their caches; infinite for another family or other lanes."""
        if (self.type, self.platform_name, self.lanes) != (other.type, other.platform_name, other.lanes):
            return math.inf
        if not self.cache_bytes or not other.cache_bytes:
            return _UNKNOWN_CACHE
        return sum(abs(math.log2(a / b)) for a, b in zip(self.cache_bytes, other.cache_bytes, strict=False))


@dataclass(frozen=True, kw_only=True)
class Table:
    """Winners on one device of a class. Their times were measured there: only their ratios say something elsewhere."""

    name: str
    device_class: DeviceClass
    device: StoredDevice
    best: tuple[ShippedBest, ...]

    def of(self, kernel: str) -> list[ShippedBest]:
        """The winners of one kernel."""
        return [best for best in self.best if best.key.kernel == kernel]


def table_for(device: DeviceInfo) -> Table | None:
    """The shipped table for devices like this one, or None: the nearest, and problems that only others have."""
    wanted = DeviceClass.of(device)
    ranked = sorted(_tables(TABLES), key=lambda table: wanted.distance(table.device_class))
    serving = [table for table in ranked if wanted.distance(table.device_class) < math.inf]
    if not serving:
        return None
    best: dict[tuple[str, str], dict[Key, ShippedBest]] = {}
    for table in serving:
        found: dict[tuple[str, str], dict[Key, ShippedBest]] = {}
        for winner in table.best:
            found.setdefault((winner.key.problem, winner.key.workload), {})[winner.key] = winner
        best = {**found, **best}  # of a problem all kernels or none: their times are compared
    return dataclasses.replace(
        serving[0], best=tuple(winner for kernels in best.values() for winner in kernels.values())
    )


@functools.cache
def _tables(folder: Path) -> tuple[Table, ...]:
    return tuple(read_table(path) for path in sorted(folder.glob("*.json")))


def read_table(path: Path) -> Table:
    """The table in a file. Raises StoreError for anything else."""
    content = read_json(path, error=StoreError)
    try:
        return _table(path.stem, mapping(content, "the table"))
    except (UsageError, TileError) as error:
        raise StoreError(str(error), path=path) from error


def _table(name: str, content: Mapping[str, Any]) -> Table:
    if content.get("format") != FORMAT:
        raise UsageError(f"the format is {shown(repr(content.get('format')))}: expected {FORMAT!r}")
    facts = mapping(content.get("device"), "device")
    told = {field.name: required(facts, field.name, str) for field in dataclasses.fields(StoredDevice)[1:]}
    device = StoredDevice(device=f"shipped {name}", **told)
    lanes, cache_bytes, rows = required(content, "lanes", int), content.get("cache_bytes"), content.get("best")
    if not (isinstance(cache_bytes, list) and all(type(size) is int and size > 0 for size in cache_bytes)):
        raise UsageError(f"cache_bytes is {shown(repr(cache_bytes))}: expected a list of positive whole numbers")
    if not isinstance(rows, list):
        raise UsageError(f"best is {shown(repr(rows))}: expected a list")
    return Table(
        name=name,
        device_class=DeviceClass(
            type=device.type, platform_name=device.platform_name, lanes=lanes, cache_bytes=tuple(cache_bytes)
        ),
        device=device,
        best=tuple(_best(device, mapping(row, "a winner")) for row in rows),
    )


def _best(device: StoredDevice, row: Mapping[str, Any]) -> ShippedBest:
    workload = Workload(kept_share=required(row, "kept_share", float), unit_rows=required(row, "unit_rows", int))
    key = Key(
        device=device.device,
        kernel=required(row, "kernel", str),
        source_hash="",
        problem=required(row, "problem", str),
        workload=workload.key,
    )
    return ShippedBest(
        key=key,
        kept_share=workload.kept_share,
        unit_rows=workload.unit_rows,
        tile=NO_TILE if row.get("tile") is None else json.dumps(mapping(row["tile"], "tile"), sort_keys=True),
        time_ms=required(row, "time_ms", float),
        default_time_ms=required(row, "default_time_ms", float),
        measured_problem=required(row, "measured_problem", str) if "measured_problem" in row else "",
    )


def shipped_tile(offer: Offer, device: DeviceInfo, text: str) -> Any | None:
    """The tile of a table for a device with another number of cores, or None where it is none any more; the kernel's
    default where the table has none that is faster.
    """
    if text == NO_TILE:
        return offer.default_tile(device)
    tile = known_tile(offer.kernel, text)
    return None if tile is None else offer.kernel.spread(tile, offer.operation, device)


def known_tile(kernel: Kernel[Any, Any], text: str) -> Any | None:
    """The tile that such text stands for, where it is one; parameters that are newer take their defaults."""
    fields = dataclasses.fields(kernel.tile_type)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    try:
        return kernel.tile_of({**defaults, **parameters_from(text)})
    except TileError:
        return None
