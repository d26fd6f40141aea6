"""`tune`: find the fastest tiles of a model for every kind of device that the workers of a cluster have."""

from __future__ import annotations

import asyncio
import math
import pickle
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from distributed import Client, Future, KilledWorker

from clprune.algorithms import Algorithms
from clprune.container.model import Model
from clprune.device import DeviceInfo, device_key
from clprune.distributed.cluster import scheduler_errors
from clprune.distributed.devices import Announced, announced
from clprune.distributed.farm import Part, keep, refine_on_worker, tune_part
from clprune.kernels.base import Offer
from clprune.plan.plan import make_plan
from clprune.progress import OnProgress, Progress
from clprune.tiles.records import Measurement, result_key
from clprune.tiles.store import Store
from clprune.tiles.t4 import Results, write_t4
from clprune.tuning.effort import Effort
from clprune.tuning.refinement import Refined
from clprune.tuning.tune import TuneWarning, by_layer, share_of_seconds
from clprune.workflow.keywords import taking
from clprune.workflow.tune import (
    Tried,
    TuneResult,
    TuneSettings,
    seconds_to_refine,
    store_to_keep,
    stored_problem,
    values_to_refine,
)  # fmt: skip

#: Problems go to a worker together until they take so long: starting its processes takes seconds.
PART_SECONDS = 60.0
_POLL_SECONDS = 0.2

#: Seconds between looks for problems that no worker has, and how often workers may die with them.
_LOOK_SECONDS, _MOST_DEATHS = 5.0, 4

#: Seconds that comparing in the network may take beside its own: for the model's way, for opening devices.
_MOST_SECONDS_MORE = 120.0


@dataclass(kw_only=True, eq=False)
class _Kind:
    """What is to be done, under way and done for one kind of device."""

    info: DeviceInfo
    offers: list[Offer]
    parts: list[tuple[list[Offer], float]]
    refining_s: float
    waiting: dict[Future[Any], Part] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Asking:
    client: Client


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked(TuneSettings, _Asking):
    """The settings, and where the work is done."""

    device: str | None = None
    out: str | Path | None = None


@taking(_Asked)
def tune(asked: _Asked) -> tuple[TuneResult, ...]:
    """What `clprune.tune` does, on every kind of device that workers have; one result for each kind.

    Each kind gets all of its problems, and `budget_s`, which workers with equal devices share. Every outcome is kept
    here at once, failures too. A candidate that a worker dies with is kept as one that failed; it is tried once more,
    not twice. `out` is a T4 file of all outcomes for these problems. Raises NoDeviceError where no worker has a device,
    WorkerError where the scheduler ends, and what `clprune.tune` raises.
    """
    client, level = asked.client, asked.level
    network, forms, values = asked.input()
    values = values_to_refine(network, forms, values)
    with store_to_keep(kept=asked.kept) as store, announced(client, selection=asked.device) as workers:
        kinds = []
        for info in workers.devices:
            store.add_device(info)
            plan = make_plan(network, info, forms=forms, algorithms=asked.algorithms)
            offers = asked.offers(store, info, plan.steps)
            seconds = asked.seconds(offers)
            refining_s = 0.0 if values is None else seconds_to_refine(seconds)
            count = max(workers.count_workers(info), 1)
            parts = list(_parts(offers, seconds=seconds - refining_s, workers=count))
            kinds.append(_Kind(info=info, offers=offers, parts=parts, refining_s=refining_s))
        farm = _Farm(client=client, workers=workers, store=store, kinds=kinds, progress=asked.progress)
        refined: dict[str, list[Refined]] = {}
        with scheduler_errors(client):
            interrupted = farm.run(effort=level, seed=asked.seed, force=asked.force)
            if values is not None and not interrupted:
                whole = Model(network=network, weights=values)
                refined, interrupted = farm.refine(whole, algorithms=asked.algorithms, effort=asked.effort)
        if asked.out is not None:
            write_t4(asked.out, _results_of(store, kinds))
        return tuple(
            TuneResult(
                model=str(network.path), batch=network.batch, device=kind.info, database=store.path,
                count=len(kind.offers), interrupted=interrupted,
                refined=tuple(refined.get(device_key(kind.info), ())),
                problems=tuple(found for one in kind.tried if (found := stored_problem(store, kind.info, one))),
            )
            for kind in kinds
        )  # fmt: skip


@dataclass(kw_only=True)
class _Farm:
    client: Client
    workers: Announced
    store: Store
    kinds: Sequence[_Kind]
    progress: OnProgress | None
    told: SimpleQueue[bytes] = field(default_factory=SimpleQueue)
    candidates: int = 0
    idle: set[Any] = field(default_factory=set)
    looked_s: float = 0.0

    def run(self, *, effort: Effort, seed: int, force: bool) -> bool:
        """Tune on all kinds of devices at the same time; whether Ctrl-C ended it."""
        self.client.subscribe_topic(self.workers.name, lambda event: self.told.put(event[1]))
        try:
            while any(kind.parts or kind.waiting for kind in self.kinds):
                for kind in self.kinds:
                    self._collect(kind)
                    while kind.parts and len(kind.waiting) < max(self.workers.count_workers(kind.info), 1):
                        offers, seconds = kind.parts.pop(0)
                        part = Part(
                            run=self.workers.name, offers=offers, known=self._known(kind, offers), budget_s=seconds,
                            effort=effort.name, seed=seed, force=force,
                        )  # fmt: skip
                        self._submit(kind, part)
                if time.monotonic() - self.looked_s > _LOOK_SECONDS:
                    self._submit_forgotten()
                self._keep_told()
        except KeyboardInterrupt:
            self.client.cancel([future for kind in self.kinds for future in kind.waiting], force=True)
            return True
        finally:
            self._keep_told()
            with suppress(Exception):  # the scheduler may have ended
                self.client.unsubscribe_topic(self.workers.name)
        return False

    def refine(
        self, model: Model, *, algorithms: Algorithms | None, effort: str
    ) -> tuple[dict[str, list[Refined]], bool]:
        """Run the winners and their closest rivals in the network, on a device of each kind: (what changed there,
        whether Ctrl-C ended it). Kinds whose workers end with it keep what they have.
        """
        futures: dict[Future[Any], _Kind] = {}
        refined: dict[str, list[Refined]] = {}
        for kind in (kind for kind in self.kinds if kind.tried and kind.refining_s):
            settings = partial(refine_on_worker, run=self.workers.name, algorithms=algorithms, effort=effort)
            task = partial(settings, seconds=kind.refining_s)
            resources = self.workers.resources(kind.info)
            content, known = self.client.scatter([model, self._known(kind, kind.offers)], hash=False)
            futures[self.client.submit(task, content, known, resources=resources, pure=False)] = kind
        # nobody gets what all of a kind died with, and those of one machine wait for each other
        until = time.monotonic() + sum(kind.refining_s for kind in futures.values()) + _MOST_SECONDS_MORE
        try:
            for future, kind in futures.items():
                try:
                    refined[device_key(kind.info)], records = answer_by(future, until)
                    keep(self.store, records)
                except (KilledWorker, asyncio.TimeoutError) as error:
                    reason = "workers ended with it" if isinstance(error, KilledWorker) else "it did not end in time"
                    text = f"the winners on {kind.info.name} were not compared in the network: {reason}"
                    warnings.warn(TuneWarning(text), stacklevel=2)
        except KeyboardInterrupt:
            return refined, True
        finally:
            self.client.cancel(list(futures), force=True)
        return refined, False

    def _submit(self, kind: _Kind, part: Part) -> None:
        future = self.client.submit(tune_part, part, resources=self.workers.resources(kind.info), pure=False)
        kind.waiting[future] = part

    def _submit_forgotten(self) -> None:
        """Submit again what no worker has in two looks, though there is one that could.

        Dask looks for a worker when one registers. Those that take the place of dead ones announce their devices only
        then, so that nobody would ever get what all of the kind died with.
        """
        busy = {key for keys in self.client.processing().values() for key in keys}
        idle: set[Any] = set()
        for kind in self.kinds:
            for future in [future for future in kind.waiting if not future.done() and future.key not in busy]:
                if future.key in self.idle and self.workers.count_workers(kind.info):
                    part = kind.waiting.pop(future)
                    future.cancel()
                    if part.deaths < _MOST_DEATHS:
                        self._submit(kind, replace(part, deaths=part.deaths + 1))
                    else:
                        self._give_up(kind, part)
                else:
                    idle.add(future.key)
        self.idle, self.looked_s = idle, time.monotonic()

    def _give_up(self, kind: _Kind, part: Part) -> None:
        """There is what was told."""
        text = f"{len(part.offers)} problems on {kind.info.name}: workers ended with them, again and again"
        warnings.warn(TuneWarning(text), stacklevel=2)
        kind.tried += [Tried(offer=offer, evaluations=0) for offer in part.offers]

    def _known(self, kind: _Kind, offers: Sequence[Offer]) -> Results:
        """What the database has of the offers' kernels: on this kind of device all, on others the winners."""
        kernels, device = {offer.kernel.name for offer in offers}, device_key(kind.info)
        return Results(
            devices=self.store.devices(),
            measurements=tuple(
                found for name in kernels for found in self.store.all_measurements(kernel=name, device=device)
            ),
            best=tuple(found for name in kernels for found in self.store.all_best(kernel=name)),
        )

    def _collect(self, kind: _Kind) -> None:
        """Take the results of what is done."""
        for future in [future for future in kind.waiting if future.done()]:
            part = kind.waiting.pop(future)
            try:
                tried, records = future.result()
                keep(self.store, records)
                kind.tried += tried
            except KilledWorker:
                self._give_up(kind, part)
            if self.progress is not None:
                done, count = (sum(len(getattr(one, name)) for one in self.kinds) for name in ("tried", "offers"))
                place = f"{done}/{count} problems on {len(self.kinds)} kinds of devices"
                figures = {"candidates": self.candidates}
                self.progress(Progress(stage="tuning", done=done, total=count, place=place, figures=figures))

    def _keep_told(self) -> None:
        """Keep what workers have told, after a moment in which they may."""
        time.sleep(_POLL_SECONDS)
        while not self.told.empty():
            item = pickle.loads(self.told.get())
            self.candidates += isinstance(item, Measurement)
            keep(self.store, [item])


def answer_by(future: Future[Any], until: float) -> Any:
    """What `future` gives until that time of the monotonic clock, or gave before. Raises asyncio.TimeoutError.

    At a limit of nothing Dask gives not even what is there.
    """
    return future.result(None if future.done() else max(until - time.monotonic(), 0.0))


def _parts(offers: Sequence[Offer], *, seconds: float, workers: int) -> Iterator[tuple[list[Offer], float]]:
    """Offers for one worker, those for one layer together, with their share of the seconds."""
    layers = by_layer(offers)
    shares = [sum(map(share_of_seconds, rivals)) for rivals in layers]
    count = min(len(layers), max(workers, math.ceil(seconds / PART_SECONDS)))
    starts = accumulate(shares, initial=0.0)
    numbered = zip(layers, shares, (int(count * start / sum(shares)) for start in starts), strict=False)
    for _, group in groupby(numbered, key=lambda item: item[2]):
        part = list(group)
        seconds_of_part = seconds * sum(share for _, share, _ in part) / sum(shares)
        yield [offer for rivals, _, _ in part for offer in rivals], seconds_of_part


def _results_of(store: Store, kinds: Sequence[_Kind]) -> Results:
    """Everything that the database has of these problems on these devices."""
    keys = dict.fromkeys(result_key(kind.info, offer) for kind in kinds for offer in kind.offers)
    used = {key.device for key in keys}
    return Results(
        devices={key: stored for key, stored in store.devices().items() if key in used},
        measurements=tuple(found for key in keys for found in store.all_measurements(**vars(key))),
        best=tuple(found for key in keys for found in store.all_best(**vars(key))),
    )
