"""Record a layer's whole search space on a device: every tile verified and timed, for replaying searches later.

    python -m tools.search.record [LAYER ...] [--device D] [--passes N] [--database FILE] [--out FOLDER]

Everything is kept in the database after each batch; a second run goes on from there. Later passes run tiles that look
good again and keep the fastest of all runs: a busy machine makes times longer, never shorter.
"""

from __future__ import annotations

from pathlib import Path

import click

from clprune import quirks
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
from tools.terminal import counter, options, run_command

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


@click.command()
@click.argument("layers", nargs=-1, type=click.Choice(list(LAYERS)))
@options(passes=2, database=Path("build/recordings.sqlite"), out={"default": RECORDINGS, "help": ""}, device=None)
def record(layers: tuple[str, ...], passes: int, database: Path, out: Path, device: str | None) -> None:
    """Record LAYERS, by default all."""
    info = choose(device)
    out.mkdir(parents=True, exist_ok=True)
    with Store(database) as store, WorkerPool(info) as pool:
        store.add_device(info)
        for name in layers or tuple(LAYERS):
            task = LAYERS[name]
            tiles = Spaces(info).candidates(task.kernel, task.operation)
            key = result_key(info, task)
            sample = task.kernel.sample(task.operation, task.workload)
            pool.set_task(task.kernel, task.operation, sample)
            for number in range(passes):
                run_pass(pool, store, key, tiles, name=f"{name}, pass {number + 1}", is_first=number == 0)
            own = task.kernel.cpu_tiles if quirks.wants_explicit_vectors(info) else task.kernel.gpu_tiles
            default = task.kernel.default_tile(task.operation, info)
            starts = [tile for tile in dict.fromkeys([default, *own]) if tile in set(tiles)]
            found = stored(store, key)
            results = Results(
                devices={key.device: store.devices()[key.device]},
                measurements=tuple(found[tile_text(tile)] for tile in tiles),
                best=(),
            )
            write_recording(out / f"{name}.json.gz", results, starts=starts)
            click.echo(f"{name}: {len(tiles)} tiles, best {best_ms(store, key):.4f} ms")


def run_pass(pool: WorkerPool, store: Store, key: Key, tiles: list[object], *, name: str, is_first: bool) -> None:
    """Evaluate what has not been, or what is good once more."""
    known = stored(store, key)
    if is_first:
        chosen = [tile for tile in tiles if tile_text(tile) not in known]
    else:
        limit = GOOD * (best_ms(store, key) or 0.0)
        chosen = [tile for tile in tiles if (known[tile_text(tile)].time_ms or limit + 1) <= limit]
    tick = counter(name, len(chosen))
    for first in range(0, len(chosen), BATCH):
        best = best_ms(store, key)
        bound = None if best is None else SLOW * best
        for outcome in pool.evaluate(chosen[first : first + BATCH], best_ms=bound):
            keep(store, key, outcome, known.get(tile_text(outcome.tile)))
            tick()
        pool.keep_only([])


def keep(store: Store, key: Key, outcome: Trial, before: Measurement | None) -> None:
    """Store an outcome together with the runs of earlier passes."""
    runs = (*(before.runs_ms if before else ()), *outcome.runs_ms)
    store.add_measurement(
        key,
        outcome.tile,
        time_ms=min(runs) if outcome.time_ms is not None else None,
        invalidity=outcome.invalidity,
        build_ms=outcome.build_ms,
        runs_ms=tuple(round(run, 6) for run in runs),
        relative_error=outcome.relative_error,
    )


def stored(store: Store, key: Key) -> dict[str, Measurement]:
    """What is known of a problem, by the text of the tile."""
    every = store.all_measurements(kernel=key.kernel, device=key.device)
    return {measurement.tile: measurement for measurement in every if measurement.key == key}


def best_ms(store: Store, key: Key) -> float | None:
    """The best time so far."""
    times = [item.time_ms for item in stored(store, key).values() if item.time_ms is not None]
    return min(times, default=None)


if __name__ == "__main__":
    run_command(record)
