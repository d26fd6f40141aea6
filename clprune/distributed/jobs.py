"""Endless work in bounded memory: items go to workers in parts, a few parts ahead of what was answered.

What does the work, a model most of all, reaches a worker once, as a plug-in: also a worker that joins later or takes
the place of one that died. Dask gives the parts of a dead worker to others.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from distributed import Client, Future, KilledWorker, WorkerPlugin, as_completed, get_worker

from clprune.distributed.cluster import register, scheduler_errors
from clprune.errors import WorkerError

#: Parts grow until a worker is busy with one for so long: per thread of all workers, at least and at most. Scheduler
#: and client spend milliseconds on each; and at the end some workers wait for the last parts of others, the longer the
#: larger.
SECONDS_PER_THREAD, LEAST_SECONDS, MOST_SECONDS = 0.1, 0.25, 1.5
MOST_ITEMS, MOST_BYTES = 1024, 1 << 23

#: Bytes of items under way, beyond which no other part is begun: client, scheduler and worker each hold copies of them.
MOST_BYTES_UNDER_WAY = 1 << 27

#: How much larger parts become at once, by the time that one took: the next may take longer.
MOST_GROWTH = 8

#: Parts under way per thread of the workers: in input order the slowest of them holds back all.
PARTS_PER_THREAD = {True: 4, False: 2}

#: Of pickles; those of all Pythons that are supported.
_PROTOCOL = 5

#: Seconds until workers are counted again.
_COUNT_SECONDS = 1.0

Opened = TypeVar("Opened")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Opened, Item, Result]):
    """What workers do; all of it is pickled.

    `open` makes what the work needs, once on each worker when that begins; it has a `close()`. `answer` gives the
    results of items, in order; `lost` that of an item whose workers died again and again, or raises the error.
    `size_bytes` is what an item takes on its way, by which parts are bounded.
    """

    open: Callable[[], Opened]
    answer: Callable[[Opened, Sequence[Item]], Sequence[Result]]
    lost: Callable[[Item, WorkerError], Result]
    size_bytes: Callable[[Item], int]


class _JobPlugin(WorkerPlugin):
    """A job on a worker."""

    def __init__(self, job: Job[Any, Any, Any]) -> None:
        self._job = job

    def setup(self, worker: object) -> None:
        self._opening = threading.Lock()
        self._opened: Any = None

    def answer(self, items: Sequence[object]) -> Sequence[object]:
        with self._opening:
            self._opened = self._opened or self._job.open()
        return self._job.answer(self._opened, items)

    def teardown(self, worker: object) -> None:
        if self._opened is not None:
            self._opened.close()


def _work(name: str, items: bytes) -> tuple[bytes, float]:
    """What a task is: (the results, the seconds that they took).

    Items and results are pickled: Dask looks into lists, and would send each small array as a frame of its own.
    """
    start = time.perf_counter()
    plugin = cast(_JobPlugin, get_worker().plugins[name])
    return pickle.dumps(plugin.answer(pickle.loads(items)), _PROTOCOL), time.perf_counter() - start


def run_job(
    client: Client,
    job: Job[Opened, Item, Result],
    items: Iterable[Item],
    *,
    first_items: int = 1,
    in_order: bool = True,
) -> Iterator[Result]:
    """Yield the result of every item, once each: in the order of `items`, or as they come.

    `items` is read no further than needed. The first parts are of `first_items`. Raises what the job raises, and
    WorkerError where the scheduler ends.
    """
    name = f"clprune-{uuid.uuid4().hex}"
    run = _Run(client=client, job=job, name=name, items=iter(items), size=first_items, in_order=in_order)
    try:
        register(client, _JobPlugin(job), name=name)
        with scheduler_errors(client):
            yield from run.results()
    finally:
        with suppress(Exception):  # nothing is left to give back where the scheduler has ended
            client.cancel(list(run.waiting))
            client.unregister_worker_plugin(name)


@dataclass(kw_only=True)
class _Run(Generic[Opened, Item, Result]):
    client: Client
    job: Job[Opened, Item, Result]
    name: str
    items: Iterator[Item]
    size: int
    in_order: bool
    #: What is under way, the oldest first.
    waiting: dict[Future[Any], Sequence[Item]] = field(default_factory=dict)
    _bytes: int = 0
    _has_answer: bool = False
    _threads: int = 1
    _submitted: int = 0
    _limit: int = 0
    _part_seconds: float = LEAST_SECONDS
    _counted_s: float = 0.0

    def results(self) -> Iterator[Result]:
        completed = as_completed(loop=self.client.loop)
        while True:
            while self._may_begin() and (part := self._next_part()):
                self._bytes += self._size_bytes(part)
                future = self._submit(part)
                self.waiting[future] = part
                if not self.in_order:
                    completed.add(future)
            if not self.waiting:
                return
            future = next(iter(self.waiting)) if self.in_order else next(completed)
            yield from self._results_of(future, self.waiting[future])
            self._bytes -= self._size_bytes(self.waiting.pop(future))

    def _submit(self, part: Sequence[Item]) -> Future[Any]:
        self._submitted += 1
        items, key = pickle.dumps(part, _PROTOCOL), f"{self.name}-{self._submitted}"
        return self.client.submit(_work, self.name, items, key=key, pure=False)

    def _may_begin(self) -> bool:
        most = self._most_parts()
        if not self._has_answer:  # the next parts may be larger
            most = self._threads
        return not self.waiting or (len(self.waiting) < most and self._bytes < MOST_BYTES_UNDER_WAY)

    def _size_bytes(self, part: Sequence[Item]) -> int:
        return sum(map(self.job.size_bytes, part))

    def _most_parts(self) -> int:
        if time.monotonic() - self._counted_s > _COUNT_SECONDS:
            self._threads = max(sum(self.client.nthreads().values()), 1)
            self._limit, self._counted_s = PARTS_PER_THREAD[self.in_order] * self._threads + 1, time.monotonic()
            self._part_seconds = min(max(SECONDS_PER_THREAD * self._threads, LEAST_SECONDS), MOST_SECONDS)
        return self._limit

    def _next_part(self) -> Sequence[Item]:
        part: list[Item] = []
        size_bytes, most_bytes = 0, min(MOST_BYTES, MOST_BYTES_UNDER_WAY // self._limit)
        while len(part) < self.size and size_bytes < most_bytes:
            try:
                part.append(next(self.items))
            except StopIteration:
                break
            size_bytes += self.job.size_bytes(part[-1])
        return part

    def _results_of(self, future: Future[Any], part: Sequence[Item]) -> Sequence[Result]:
        """Where workers die with a part, one item of it may be the cause: each has a part of its own then."""
        try:
            results, seconds = future.result()
        except KilledWorker as error:
            if len(part) == 1:
                message = f"{part[0]}: every worker that had it ended, {error.last_worker.address} at last"
                return [self.job.lost(part[0], WorkerError(message))]
            futures = [self._submit([item]) for item in part]
            return [result for one, item in zip(futures, part, strict=True) for result in self._results_of(one, [item])]
        self._has_answer = True
        if seconds < self._part_seconds / 2 and len(part) >= self.size:
            growth = min(self._part_seconds / max(seconds, 1e-9), MOST_GROWTH)
            self.size = min(int(growth * self.size), MOST_ITEMS)
        return pickle.loads(results)  # type: ignore[no-any-return]
