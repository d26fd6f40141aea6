"""What a worker of a tuning farm does with some problems: tune them, and tell every outcome at once.

What is told is kept by the scheduler, under the topic of these problems. So a worker that takes the place of a dead one
goes on from what that one had found, and knows which candidates were under way when it died.
"""

from __future__ import annotations

import os
import pickle
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_worker, worker_client

from clprune.algorithms import Algorithms
from clprune.container.model import Model
from clprune.device import DeviceInfo, device_key
from clprune.distributed.devices import own_device
from clprune.folders import own_cache_folder
from clprune.kernels.base import Offer
from clprune.opencl import open_session
from clprune.tiles.records import RUNTIME, Best, Key, Measurement, tile_text
from clprune.tiles.store import Store, now_text
from clprune.tiles.t4 import Results
from clprune.tuning.refinement import Refined
from clprune.workflow.tune import Tried, refine_in_network, tune_offers

#: A candidate that so many workers died with is not tried again on any device of that kind.
MOST_DEATHS = 2


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Candidates that a worker begins with."""

    key: Key
    tiles: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A candidate that was under way when a worker died: what is kept of it unless a later try says more."""

    measurement: Measurement


@dataclass(frozen=True, kw_only=True)
class Part:
    """Problems for one worker; `known` is what the database has of their kernels, `deaths` of whole workers, before.

    `run` is the name under which workers announced their devices, and the topic of what is told.
    """

    run: str
    offers: Sequence[Offer]
    known: Results
    budget_s: float
    effort: str
    seed: int
    force: bool
    deaths: int = 0


class ToldStore(Store):
    """Results in memory; those that are added to what was `known` are told at once, and are in `told`."""

    def __init__(self, known: Results, tell: Callable[[Any], None] | None = None) -> None:
        super().__init__(None)
        self._tell = None
        self.told: list[Measurement | Best] = []
        for device in known.devices.values():
            self.add_device(device)
        keep(self, (*known.measurements, *known.best))
        self._tell = tell

    def put_measurement(self, measurement: Measurement, *, is_replacing: bool = True) -> int:
        """Keep and tell."""
        self._say(measurement)
        return super().put_measurement(measurement, is_replacing=is_replacing)

    def put_best(self, best: Best, *, is_replacing: bool = True) -> int:
        """Keep and tell."""
        self._say(best)
        return super().put_best(best, is_replacing=is_replacing)

    def _say(self, record: Measurement | Best) -> None:
        if self._tell is not None:
            self.told.append(record)
            self._tell(record)


def tune_part(part: Part) -> tuple[list[Tried], list[Measurement | Best]]:
    """The task of a worker: tune the problems of `part` on its device; what was tried, and what was found."""
    info = own_device(part.run)
    topics = [part.run, topic_of_part(part)]

    def tell(item: Any) -> None:
        get_worker().log_event(topics, pickle.dumps(item))

    with worker_client(separate_thread=False) as client:
        told = [pickle.loads(text) for _, text in client.get_events(topics[1])]
    with alone_on(info), open_session(info) as session, ToldStore(part.known, tell) as store:
        keep(store, (item for item in told if isinstance(item, Measurement | Best)))
        for (key, tile), deaths in deaths_of(told).items():
            lost = Measurement(key=key, tile=tile, time_ms=None, invalidity=RUNTIME, timestamp=now_text())
            tell(Lost(measurement=lost))
            if deaths >= MOST_DEATHS:
                store.put_measurement(lost)
        tried, _ = tune_offers(
            session, store, part.offers, effort=part.effort, budget_s=part.budget_s, seed=part.seed, force=part.force,
            begun=lambda key, tiles: tell(Begun(key=key, tiles=tuple(map(tile_text, tiles)))),
        )  # fmt: skip
        return tried, store.told


def topic_of_part(part: Part) -> str:
    """Where the outcomes of one part are told, beside the topic of all."""
    first = part.offers[0]
    return "\n".join((part.run, first.kernel.name, first.operation.key, first.workload.key))


def keep(store: Store, items: Iterable[Any]) -> None:
    """Put into `store` what is to be kept of what was told."""
    for item in items:
        if isinstance(item, Measurement):
            store.put_measurement(item)
        elif isinstance(item, Best):
            store.put_best(item)
        elif isinstance(item, Lost):
            store.put_measurement(item.measurement, is_replacing=False)


def deaths_of(told: Sequence[Any]) -> Counter[tuple[Key, str]]:
    """Candidates that were begun and never measured -> how many workers died with them."""
    begun = Counter((item.key, tile) for item in told if isinstance(item, Begun) for tile in item.tiles)
    measured = {(item.key, item.tile) for item in told if isinstance(item, Measurement)}
    return Counter({candidate: deaths for candidate, deaths in begun.items() if candidate not in measured})


def refine_on_worker(
    model: Model, known: Results, *, run: str, algorithms: Algorithms | None, effort: str, seconds: float
) -> tuple[list[Refined], list[Measurement | Best]]:
    """The task of one worker of each kind at last: what changed when the winners ran in the network for so many
    seconds, and these, with measurements of those that were no candidates before.
    """
    network, values, info = model.network, model.weights, own_device(run)
    with alone_on(info), open_session(info) as session, ToldStore(known, lambda item: None) as store:
        until = time.monotonic() + seconds
        refined = refine_in_network(session, store, network, values, algorithms=algorithms, effort=effort, until=until)
        return refined, [*store.told, *store.all_best(device=device_key(info))]


@contextmanager
def alone_on(device: DeviceInfo) -> Iterator[None]:
    """Wait until no other worker of this machine and user times anything on it; all CPUs count as one device."""
    name = "cpu" if device.type == "cpu" or device.is_software else device.selector.replace(":", "-")
    try:
        import fcntl
    except ImportError:  # not on every system
        yield
        return
    # in the cache nobody else's file can stand in the way; other machines may share it
    folder = own_cache_folder() or Path(tempfile.gettempdir())
    path = folder / f"clprune-tuning-{platform.node()}-{os.getuid()}-{name}.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system gives it back when the process ends, however it does
        yield
    finally:
        os.close(lock)
