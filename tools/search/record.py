"""Record a layer's search space on a device: every tile verified and timed, for replaying searches later.

    python -m tools.search.record [LAYER ...] [--device D] [--passes N] [--most N] [--minutes M] [--database FILE]
        [--out FOLDER]

Everything is kept in the database; another run goes on from there, later passes from their beginning. Those run tiles
that look good again and keep the fastest of all runs: a busy machine makes times longer, never shorter.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.geometry import ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.workload import Workload
from clprune.opencl import choose
from clprune.tiles.records import Key, Measurement, result_key, tile_text
from clprune.tiles.store import Store
from clprune.tiles.t4 import Results
from clprune.tuning.pool import WorkerPool
from clprune.tuning.spaces import Spaces
from clprune.tuning.trial import Trial
from tools import ROOT
from tools.search.recording import write_recording
from tools.terminal import SECONDS, counter, options, run_command

RECORDINGS = ROOT / "tests" / "data" / "recordings"
BATCH = 24
GOOD = 1.5  # times the best: what later passes run again
SLOW = 3.0  # times the best: what is slower is not timed more precisely than that


def layer(*, channels: int, side: int, filters: int, kept_share: float = 1.0, pooled: bool = False) -> Offer:
    """A 3x3 convolution, as in VGG16 at another width."""
    problem = ConvProblem.square(
        batch=1, in_channels=channels, in_height=side, in_width=side, out_channels=filters, size=3, padding=1
    )
    operation = conv_operation(problem, activation="relu", pooled=pooled)
    return Offer(kernel=CONV, operation=operation, workload=Workload(kept_share=kept_share))


LAYERS = {
    "conv64-56-pooled": layer(channels=64, side=56, filters=64, pooled=True),
    "conv128-28-pooled-kept25": layer(channels=128, side=28, filters=128, kept_share=0.25, pooled=True),
    "conv256-14": layer(channels=256, side=14, filters=256),
}


@dataclass(frozen=True, kw_only=True)
class Space:
    """The tiles of one layer that are recorded, and what the database has of them, by the text of the tile."""

    name: str
    task: Offer
    tiles: list[Any]
    size: int
    key: Key
    store: Store
    known: dict[str, Measurement]

    @classmethod
    def open(cls, name: str, store: Store, info: DeviceInfo, *, most: int) -> Space:
        """At most so many of a layer's tiles on a device: those that searches begin with, others by chance."""
        task = LAYERS[name]
        every = Spaces(info).candidates(task.kernel, task.operation)
        order = random.Random(0).sample(every, len(every))
        tiles = list(dict.fromkeys([*starts(task, info), *order]))[:most]
        key, wanted = result_key(info, task), set(map(tile_text, tiles))
        items = store.all_measurements(kernel=key.kernel, device=key.device)
        return cls(
            name=name, task=task, tiles=tiles, size=len(every), key=key, store=store,
            known={item.tile: item for item in items if item.key == key and item.tile in wanted},
        )  # fmt: skip

    @property
    def best_ms(self) -> float | None:
        """The best time so far."""
        return min((item.time_ms for item in self.known.values() if item.time_ms is not None), default=None)

    def left(self, number: int) -> list[Any]:
        """What pass `number` has to run: in the first what has not been, later what is good."""
        limit = GOOD * (self.best_ms or 0.0)
        found = [(tile, self.known.get(tile_text(tile))) for tile in self.tiles]
        if number == 0:
            return [tile for tile, item in found if item is None]
        return [tile for tile, item in found if item is not None and (item.time_ms or math.inf) <= limit]

    def keep(self, outcome: Trial) -> None:
        """Store an outcome together with the runs of earlier passes."""
        before = self.known.get(tile_text(outcome.tile))
        runs = (*(before.runs_ms if before else ()), *outcome.runs_ms)
        measurement = Measurement(
            key=self.key,
            tile=tile_text(outcome.tile),
            time_ms=min(runs) if outcome.time_ms is not None else None,
            invalidity=outcome.invalidity,
            build_ms=outcome.build_ms,
            runs_ms=tuple(round(run, 6) for run in runs),
            relative_error=outcome.relative_error,
        )
        self.store.put_measurement(measurement)
        self.known[measurement.tile] = measurement


def starts(task: Offer, info: DeviceInfo) -> list[Any]:
    """The tiles of the space that a search on the device begins with."""
    own = task.kernel.cpu_tiles if quirks.wants_explicit_vectors(info) else task.kernel.gpu_tiles
    every = set(Spaces(info).candidates(task.kernel, task.operation))
    return [tile for tile in dict.fromkeys([task.kernel.default_tile(task.operation, info), *own]) if tile in every]


@click.command()
@click.argument("layers", nargs=-1, type=click.Choice(list(LAYERS)))
@options(
    passes=2,
    most={"default": 2000, "help": "Tiles of a larger space that are recorded, by chance."},
    minutes={"type": SECONDS, "help": "Begin nothing after these; another run goes on."},
    database=Path("build/recordings.sqlite"),
    out={"default": RECORDINGS, "help": ""},
    device=None,
)
def record(  # noqa: PLR0917 - click gives them by name
    layers: tuple[str, ...],
    passes: int,
    most: int,
    minutes: float | None,
    database: Path,
    out: Path,
    device: str | None,
) -> None:
    """Record LAYERS, by default all."""
    info = choose(device)
    end_s = math.inf if minutes is None else time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    with Store(database) as store, WorkerPool(info) as pool:
        store.add_device(info)
        for name in layers or tuple(LAYERS):
            space = Space.open(name, store, info, most=most)
            task = space.task
            pool.set_task(task.kernel, task.operation, task.kernel.sample(task.operation, task.workload))
            if not all(run_pass(pool, space, number, end_s=end_s) for number in range(passes)):
                click.echo(f"{name}: {len(space.known)} of {len(space.tiles)} tiles; run this again to go on")
                continue
            results = Results(
                devices={space.key.device: store.devices()[space.key.device]},
                measurements=tuple(_shortened(tile, space.known[tile_text(tile)]) for tile in space.tiles),
                best=(),
            )
            write_recording(out / f"{name}.json.gz", results, starts=starts(task, info), size=space.size)
            click.echo(f"{name}: {len(space.tiles)} tiles, best {space.best_ms:.4f} ms")


def run_pass(pool: WorkerPool, space: Space, number: int, *, end_s: float) -> bool:
    """Evaluate what has not been, or what is good once more. Returns whether there was time for all."""
    chosen = space.left(number)
    tick = counter(f"{space.name}, pass {number + 1}", len(chosen))
    for first in range(0, len(chosen), BATCH):
        if time.monotonic() > end_s:
            return False
        bound = None if space.best_ms is None else SLOW * space.best_ms
        for outcome in pool.evaluate(chosen[first : first + BATCH], best_ms=bound):
            space.keep(outcome)
            tick()
        pool.keep_only([])
    return True


def _shortened(tile: Any, measurement: Measurement) -> Measurement:
    """Without what replaying needs not, in few digits: files are small. All parameters are told, where the text of a
    tile leaves out those that it has not.
    """
    time_ms, build_ms, error = (
        None if value is None else float(f"{value:.{digits}g}")
        for value, digits in ((measurement.time_ms, 5), (measurement.build_ms, 2), (measurement.relative_error, 2))
    )
    return replace(
        measurement, tile=json.dumps(asdict(tile), sort_keys=True), time_ms=time_ms, build_ms=build_ms,
        relative_error=error, runs_ms=(), timestamp="",
    )  # fmt: skip


if __name__ == "__main__":
    run_command(record)
