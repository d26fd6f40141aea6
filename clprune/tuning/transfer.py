"""What earlier tuning says about a new problem: measurements of the most similar problems and devices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clprune.kernels.base import Kernel
from clprune.kernels.workload import Workload
from clprune.tiles.distance import Neighbours
from clprune.tiles.records import Key, StoredDevice
from clprune.tiles.store import Store
from clprune.tuning.model_search import MOST_SIMILAR, Similar

#: Beyond this a problem says nothing worth the model's time.
FARTHEST = 12.0

#: What is added to the distance for results of another driver, of the same architecture, of the same type of device.
_OTHER_DRIVER, _SAME_ARCHITECTURE, _SAME_TYPE = 0.5, 1.0, 4.0
_OTHER_SOURCE = 0.5  # an older version of the same kernel

_PRUNED = re.compile(r"kept([01]\.\d{2,3}) unit([1-9]\d{0,8})x1", re.ASCII)


def similar_problems(store: Store, key: Key, kernel: Kernel[Any, Any]) -> list[Similar]:
    """Measurements of at most MOST_SIMILAR problems, nearest first; never those under `key` itself."""
    devices = store.devices()
    here, workload = devices.get(key.device), workload_of(key.workload)
    ranked: list[tuple[float, Key]] = []
    for device in dict.fromkeys((key.device, *devices)):
        farness = _farness(key.device, device, here=here, there=devices.get(device))
        if farness is None:
            continue
        known = store.keys(device=device, kernel=kernel.name)
        for other, distance in zip(known, _distances(known, key.problem, workload), strict=True):
            farther = distance + farness + _OTHER_SOURCE * (key.source_hash != other.source_hash)
            if other != key and farther <= FARTHEST:
                ranked.append((farther, other))
    ranked.sort(key=lambda item: item[0])
    found = []
    for distance, other in ranked[: 2 * MOST_SIMILAR]:
        times_ms = store.measurements(other, kernel)
        if sum(time_ms is not None for time_ms in times_ms.values()) >= 2:
            found.append(Similar(times_ms=times_ms, distance=distance))
    return found[:MOST_SIMILAR]


def starts_from(similar: list[Similar], *, per_problem: int = 2) -> list[Any]:
    """The fastest tiles of similar problems, the nearest problem's first."""
    starts = []
    for other in similar:
        timed = [(time_ms, number, tile) for number, (tile, time_ms) in enumerate(other.times_ms.items()) if time_ms]
        starts += [tile for _, _, tile in sorted(timed, key=lambda item: item[:2])[:per_problem]]
    return list(dict.fromkeys(starts))


def workload_of(key: str) -> Workload:
    """The workload whose key this is."""
    match = _PRUNED.fullmatch(key)
    return Workload(kept_share=float(match[1]), unit_rows=int(match[2])) if match else Workload()


def _distances(known: Sequence[Key], problem: str, workload: Workload) -> list[float]:
    """From each of them to a problem."""
    left = [workload_of(key.workload) for key in known]
    shares, units = [one.kept_share for one in left], [one.unit_rows for one in left]
    neighbours = Neighbours([key.problem for key in known], kept_shares=shares, units=units)
    return [float(distance) for distance in neighbours.distances(problem, workload)]


def _farness(device: str, other: str, *, here: StoredDevice | None, there: StoredDevice | None) -> float | None:
    """What another device adds to a distance; None where its results say nothing."""
    if device == other:
        return 0.0
    if here is None or there is None or here.type != there.type:
        return None
    if here.is_same_device(there):
        return _OTHER_DRIVER
    return _SAME_ARCHITECTURE if here.architecture == there.architecture else _SAME_TYPE
