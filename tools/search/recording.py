"""Recorded spaces: a problem's tiles, all or a sample, with their times on a device, to replay searches without one.

A recording is a T4 file (`clprune.tiles.t4`) whose results all have one key, with `metadata.starts`: the tiles that a
search on that device begins with. Its tiles are of a type of their own, made from the parameters in the file, so that
recordings outlive changes of the kernels.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clprune.errors import StoreError
from clprune.files import write_atomically
from clprune.json_input import read_json
from clprune.kernels.tile import Value
from clprune.tiles.records import Key
from clprune.tiles.t4 import Results, from_document, to_document


class Search(Protocol):
    """What a recording can be searched with."""

    def ask(self) -> Any | None: ...

    def tell(self, tile: Any, time_ms: float | None) -> None: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """A space, or a sample of one of `size` tiles: milliseconds by tile, None where invalid; some are `starts`."""

    name: str
    key: Key
    device_name: str
    parameters: Mapping[str, Sequence[Value]]
    times_ms: Mapping[Any, float | None]
    starts: tuple[Any, ...]
    size: int

    @property
    def best_ms(self) -> float:
        """The time of the best tile."""
        return min(time_ms for time_ms in self.times_ms.values() if time_ms is not None)

    def slowdown(self, tile: Any) -> float:
        """Time over best time; infinite for an invalid tile."""
        time_ms = self.times_ms[tile]
        return float("inf") if time_ms is None else time_ms / self.best_ms


def write_recording(path: str | Path, results: Results, *, starts: Sequence[Any], size: int | None = None) -> None:
    """Write the results of one problem, compressed; `size` is that of the space where they are a sample of it.

    Raises FileError.
    """
    document = to_document(results)
    document["metadata"]["size"] = size or len(results.measurements)
    document["metadata"]["starts"] = [dataclasses.asdict(tile) for tile in starts]
    write_atomically(path, gzip.compress(json.dumps(document).encode(), mtime=0))


def read_recording(path: str | Path) -> Recording:
    """Read a recorded space. Raises StoreError when the file is none."""
    path = Path(path)
    document = read_json(path, error=StoreError)
    results = from_document(document, path=path)
    keys = {measurement.key for measurement in results.measurements}
    if len(keys) != 1:
        raise StoreError(f"results of {len(keys)} problems, a recording has one", path=path)
    key = keys.pop()
    configurations = [json.loads(measurement.tile) for measurement in results.measurements]
    make_tile = tile_type(configurations[0])
    times = [measurement.time_ms for measurement in results.measurements]
    metadata = document.get("metadata", {})
    starts = tuple(make_tile(**start) for start in metadata.get("starts", ()))
    return Recording(
        name=path.name.partition(".")[0],
        key=key,
        device_name=results.devices[key.device].name if key.device in results.devices else "",
        parameters={
            name: _values(configuration[name] for configuration in configurations) for name in configurations[0]
        },
        times_ms={make_tile(**configuration): time for configuration, time in zip(configurations, times, strict=True)},
        starts=starts,
        size=metadata.get("size", len(times)),
    )


def read_recordings(folder: str | Path) -> list[Recording]:
    """Every recording of a folder, by name."""
    return [read_recording(path) for path in sorted(Path(folder).glob("*.json.gz"))]


def replay(recording: Recording, make_search: Callable[[], Search], *, evaluations: int, batch: int = 1) -> list[float]:
    """Best slowdown after each of at most `evaluations` evaluations; `batch` tiles are asked for before any is told."""
    search = make_search()
    course: list[float] = []
    best = float("inf")
    while len(course) < evaluations:
        tiles: list[Any] = []
        while len(tiles) < min(batch, evaluations - len(course)) and (tile := search.ask()) is not None:
            tiles.append(tile)
        if not tiles:
            break
        for tile in tiles:
            best = min(best, recording.slowdown(tile))
            search.tell(tile, recording.times_ms[tile])
            course.append(best)
    return course


def tile_type(configuration: Mapping[str, Value]) -> Any:
    """A frozen dataclass whose fields are a configuration's parameters."""
    fields = [(name, type(value)) for name, value in configuration.items()]
    return dataclasses.make_dataclass("RecordedTile", fields, frozen=True, kw_only=True)


def _values(values: Iterable[Any]) -> tuple[Value, ...]:
    return tuple(sorted(set(values)))
