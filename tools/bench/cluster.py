"""What workers bring and what their scheduler costs; writes docs/results/cluster.md and .json.

    python -m tools.bench.cluster [--device D] [--images N] [--rounds N] [--simulated N] [--paths N]
        [--only simulated|real]

First simulated ones, in one process, with a stand-in device that sleeps: how much longer all took than the sleeping,
and how the memory of client and scheduler, which are this process, grew. Then real ones: images per second of one
worker and of two, of one thread each, and of the plain command with two threads, from PNG files. The figures mean
something only on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import dask
import numpy as np
from distributed import Client, LocalCluster, Worker
from PIL import Image

from clprune import Runner, distributed
from clprune.container.model import load_model
from clprune.distributed.cluster import SETTINGS, start
from clprune.distributed.jobs import Job, run_job
from clprune.image import ImageOptions
from clprune.runner.inference import infer_images
from clprune.turns import Series, in_turns
from tools import RESULTS
from tools.bench.figures import Figure
from tools.bench.models import find_cfg
from tools.bench.report import Section, figure_table, make_section, show, table_of, write_section
from tools.terminal import options, run_command, say

#: Two workers over one, and over the plain command with two threads.
PAIR_GOAL, PLAIN_GOAL = 1.85, 1.0

#: Seconds that a simulated batch of so many paths takes, and the share of time that may come on top.
BATCH_SECONDS, BATCH_PATHS, OVERHEAD_GOAL = 0.05, 10, 0.05

#: Megabytes at the end over those after a quarter: flat but for the allocator's moods.
MEMORY_GOAL = 1.05

#: Different images; each is read often.
_FILES = 1000

HEADING = """
# Many workers

Written by `tools/bench/cluster.py`. Real workers: images per second from PNG files, two workers of one thread beside
one worker of one thread and beside the plain command with two. Simulated ones: a device that sleeps.
"""


@contextmanager
def cores(count: int) -> Iterator[None]:
    """This process, and those that it starts, on the first `count` cores that it may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def write_images(folder: Path) -> list[str]:
    """Random pictures of 32x32 as PNG files."""
    for number in range(_FILES):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(_FILES)]


def time_workers(cfg: Path, *, count: int, device: str | None, rounds: int) -> dict[str, Series]:
    """Milliseconds for `count` images, by what answered them."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder))
        paths = [files[number % _FILES] for number in range(count)]

        def plain() -> float:
            say("plain command")
            model = load_model(cfg)
            with Runner(model, device=device) as runner:
                answers = infer_images(runner, model.network, paths, options=ImageOptions())
                return _milliseconds(answers)

        def by_workers(workers: int) -> float:
            say(f"{workers} workers")
            with ExitStack() as stack:
                with cores(workers):  # one core, and so one thread of the driver, for each
                    client = stack.enter_context(start(workers, device=device))
                return _milliseconds(distributed.map_images(client, cfg, paths))

        turns: list[Callable[[], float]] = [plain, lambda: by_workers(1), lambda: by_workers(2)]
        samples = in_turns(turns, rounds=rounds, warmup=0)  # each begins with an answer that is not timed
    return {
        name: Series(samples_ms=times)
        for name, times in zip(("plain command", "one worker", "two workers"), samples, strict=True)
    }


def _milliseconds(answers: Iterator[Any]) -> float:
    """From the first answer to the last."""
    next(answers)
    begin = time.perf_counter()
    failures = sum(answer.error is not None for answer in answers)
    assert not failures
    return (time.perf_counter() - begin) * 1e3


class _StandIn:
    """What a simulated worker opens."""

    def close(self) -> None:
        """Nothing is open."""


def _sleep(device: _StandIn, items: Sequence[str]) -> Sequence[str]:
    time.sleep(BATCH_SECONDS * len(items) / BATCH_PATHS)
    return items


def _be_workers(address: str, count: int) -> None:
    """So many workers of one thread, in this process, until it is ended."""

    async def work() -> None:
        options = {"nthreads": 1, "dashboard": False, "memory_limit": 0, "host": "127.0.0.1", "silence_logs": 50}
        workers = [await Worker(address, **options) for _ in range(count)]
        await asyncio.gather(*(worker.finished() for worker in workers))

    # profilers and monitors of a hundred are all that one process would do
    dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "60s"})
    asyncio.run(work())


def simulate(*, workers: int, paths: int) -> dict[str, float]:
    """Seconds for so many paths, the seconds of sleeping per worker, and this process's megabytes early and at the end.

    This process is client and scheduler; the workers share another.
    """
    job: Job[_StandIn, str, str] = Job(open=_StandIn, answer=_sleep, lost=lambda item, error: item, size_bytes=len)
    scheduler = {"dashboard_address": "127.0.0.1:0"}
    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set({"temporary-directory": folder, **SETTINGS}),
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address=None, scheduler_kwargs=scheduler
        ) as cluster,
        Client(cluster) as client,
    ):
        process = multiprocessing.get_context("spawn").Process(
            target=_be_workers, args=(cluster.scheduler_address, workers)
        )
        process.start()
        try:
            client.wait_for_workers(workers, timeout=300)
            images = (f"/images/{number}.png" for number in range(paths))
            begin, done, early = time.perf_counter(), 0, 0.0
            for _ in run_job(client, job, images, first_items=BATCH_PATHS, in_order=False):
                done += 1
                if done == paths // 4:
                    early = _resident_mb()
            seconds = time.perf_counter() - begin
        finally:
            process.kill()
            process.join()
        assert done == paths
        asleep_s = paths / BATCH_PATHS * BATCH_SECONDS / workers
        return {"seconds": seconds, "asleep_s": asleep_s, "early_mb": early, "late_mb": _resident_mb()}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@click.command()
@options(
    model="vgg16-digits",
    device=None,
    images=20_000,
    rounds=3,
    simulated={"default": 100, "help": "Simulated workers."},
    paths={"default": 1_000_000, "help": "Paths for them."},
    only={"type": click.Choice(["simulated", "real"]), "help": "Measure these workers alone."},
    out=RESULTS / "cluster.json",
)
def bench_cluster(
    *, model: str, device: str | None, images: int, rounds: int, simulated: int, paths: int, only: str | None, out: Path
) -> None:
    """Time workers, real and simulated."""
    cfg = find_cfg(model)
    if only != "real":
        _write(out, f"{simulated} simulated workers", _simulated_section(simulated, paths))
    if only != "simulated":
        _write(out, cfg.stem, _real_section(cfg, images=images, rounds=rounds, device=device))


def _write(out: Path, title: str, section: Section) -> None:
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


def _simulated_section(workers: int, paths: int) -> Section:
    say(f"{workers} simulated workers, {paths} paths")
    times = simulate(workers=workers, paths=paths)
    figures = [
        Figure(
            name="time on top of the sleeping (share)", goal=OVERHEAD_GOAL,
            best=times["seconds"] / times["asleep_s"] - 1,
        ),
        Figure(
            name="memory of client and scheduler, end over quarter", goal=MEMORY_GOAL,
            best=times["late_mb"] / times["early_mb"],
        ),
    ]  # fmt: skip
    return make_section(
        ["clprune", "dask", "distributed"],
        text=f"{paths} paths, {BATCH_PATHS} in {BATCH_SECONDS * 1e3:.0f} ms: {times['seconds']:.1f} s, of which each "
        f"worker slept {times['asleep_s']:.1f}; {times['early_mb']:.0f} MB after a quarter, {times['late_mb']:.0f} at "
        "the end.",
        parts=[figure_table(figures)],
        figures=figures,
        simulated=times,
    )


def _real_section(cfg: Path, *, images: int, rounds: int, device: str | None) -> Section:
    say(f"{images} images, {rounds} rounds")
    series = time_workers(cfg, count=images, device=device, rounds=rounds)
    figures = [
        _rates("two workers over one", series["one worker"], series["two workers"], goal=PAIR_GOAL),
        _rates("two workers over the plain command", series["plain command"], series["two workers"], goal=PLAIN_GOAL),
    ]
    rates = [
        (name, f"{images / one.best_ms * 1e3:.0f}", f"{images / one.median_ms * 1e3:.0f}")
        for name, one in series.items()
    ]
    return make_section(
        ["clprune", "dask", "distributed", "numpy", "pillow", "pyopencl"],
        text=f"{images} images, {rounds} rounds.",
        parts=[table_of(("answered by", "images/s, best", "median"), rates), figure_table(figures)],
        figures=figures,
        series={name: one.to_dict() for name, one in series.items()},
    )


def _rates(name: str, slow: Series, fast: Series, *, goal: float) -> Figure:
    best, median = slow.best_ms / fast.best_ms, slow.median_ms / fast.median_ms
    return Figure(name=name, best=best, median=median, goal=goal, is_at_most=False)


if __name__ == "__main__":
    run_command(bench_cluster)
