"""From a database of measurements to the table of a class of devices."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from clprune.device import DeviceInfo, device_key
from clprune.files import write_atomically
from clprune.tiles.records import Best, StoredDevice, parameters_from
from clprune.tiles.shipped import FORMAT, TABLES, DeviceClass
from clprune.tiles.store import Store
from clprune.version import __version__
from tools.bench.machine import today

#: A tile is worth shipping that takes at most this share of the default's time: less is within what a look says.
WORTH_SHIPPING = 0.97


def table_path(device: DeviceInfo) -> Path:
    """Where the table of a device's class lies."""
    found = DeviceClass.of(device)
    family = "-".join(re.findall("[a-z0-9]+", found.platform_name.lower().replace("(r)", "")))
    caches = "".join(f"-{size >> 10}k" for size in found.cache_bytes[:2])
    return TABLES / f"{family}-{found.type}-float{found.lanes}{caches}.json"


def write_table(path: Path, store: Store, device: DeviceInfo) -> int:
    """Write what `store` has of a device, beside what else the table held; returns how many winners that are.

    Raises FileError.
    """
    found = [_row(best) for best in store.all_best(device=device_key(device))]
    rows = list({_problem(row): row for row in (*_rows_of(path), *found)}.values())
    rows.sort(key=lambda row: (row["kernel"], -row["kept_share"], row["unit_rows"], row["problem"]))
    facts = {field.name: getattr(device, field.name) for field in dataclasses.fields(StoredDevice)[1:]}
    head = {
        "format": FORMAT,
        "made": f"clprune {__version__}, {today()}",
        "device": facts,
        "lanes": DeviceClass.of(device).lanes,
        "cache_bytes": list(device.cache_bytes),
    }
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    write_atomically(path, json.dumps(head, indent=1).removesuffix("\n}") + f',\n "best": [\n{lines}\n ]\n}}\n')
    return len(rows)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """Of a table that this version reads; what another has measured is measured anew."""
    table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return list(table["best"]) if table.get("format") == FORMAT else []


def _problem(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("kernel", "problem", "kept_share", "unit_rows"))


def _row(best: Best) -> dict[str, Any]:
    time_ms, default_ms = best.time_ms or 0.0, best.default_time_ms or best.time_ms or 0.0
    is_worth = time_ms <= WORTH_SHIPPING * default_ms
    row = {
        "kernel": best.key.kernel,
        "problem": best.key.problem,
        "kept_share": best.kept_share,
        "unit_rows": best.unit_rows,
        "time_ms": float(f"{time_ms if is_worth else default_ms:.4g}"),
        "default_time_ms": float(f"{default_ms:.4g}"),
        "tile": parameters_from(best.tile) if is_worth else None,
    }
    return row | ({"measured_problem": best.measured_problem} if best.measured_problem else {})
