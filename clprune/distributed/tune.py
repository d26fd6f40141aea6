"""`tune`: find the fastest tiles of a model for every kind of device that the workers of a cluster have."""

from __future__ import annotations

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
from clprune.darknet.random_weights import random_weights
from clprune.device import DeviceInfo, device_key
from clprune.distributed.cluster import scheduler_errors
from clprune.distributed.devices import Announced, announced
from clprune.distributed.farm import Part, keep, refine_on_worker, tune_part
from clprune.kernels.base import Offer
from clprune.plan.plan import make_plan
from clprune.progress import OnProgress, Progress
from clprune.tiles.records import Measurement, result_key
from clprune.tiles.store import Store
from clprune.tiles.t4 import Results, from_store, write_t4
from clprune.tuning.effort import DEFAULT_EFFORT, Effort, effort_by_name
from clprune.tuning.refinement import Refined
from clprune.tuning.tune import TuneWarning, by_layer, offers_to_tune, share_of_seconds
from clprune.workflow.inputs import ModelLike
from clprune.workflow.tune import (
    Tried,
    TuneResult,
    seconds_to_refine,
    store_to_keep,
    stored_problem,
    tuning_input,
    without_tuned,
)  # fmt: skip

#: Problems go to a worker together until they take so long: starting its processes takes seconds.
PART_SECONDS = 60.0
_POLL_SECONDS = 0.2

#: Seconds between looks for problems that no worker has, and how often workers may die with them.
_LOOK_SECONDS, _MOST_DEATHS = 5.0, 4


@dataclass(kw_only=True, eq=False)
class _Kind:
    """What is to be done, under way and done for one kind of device."""

    info: DeviceInfo
    offers: list[Offer]
    parts: list[tuple[list[Offer], float]]
    refining_s: float
    waiting: dict[Future[Any], Part] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)


def tune(
    client: Client,
    model: ModelLike,
    *,
    weights: str | Path | None = None,
    dialect: str | None = None,
    effort: str = DEFAULT_EFFORT,
    budget_s: float | None = None,
    force: bool = False,
    missing: bool = False,
    kept: bool = True,
    batch: int | None = None,
    seed: int = 0,
    device: str | None = None,
    algorithms: Algorithms | None = None,
    out: str | Path | None = None,
    progress: OnProgress | None = None,
) -> tuple[TuneResult, ...]:
    """What `clprune.tune` does, on every kind of device that workers have; one result for each kind.

    Each kind gets all of its problems, and `budget_s`, which workers with equal devices share. Every outcome is kept
    here at once, failures too. A candidate that a worker dies with is kept as one that failed; it is tried once more,
    not twice. `out` is a T4 file of all outcomes for these problems. Raises NoDeviceError where no worker has a device,
    WorkerError where the scheduler ends, and what `clprune.tune` raises.
    """
    level = effort_by_name(effort)
    network, forms, values = tuning_input(model, weights, batch=batch, dialect=dialect)
    if values is None and all(form.workload.is_dense for form in forms.values()):
        values = random_weights(network, seed=0)
    with store_to_keep(kept=kept) as store, announced(client, selection=device) as workers:
        kinds = []
        for info in workers.devices:
            store.add_device(info)
            plan = make_plan(network, info, forms=forms, algorithms=algorithms)
            offers = offers_to_tune(plan.steps, likely_only=level.likely_only)
            offers = without_tuned(store, info, offers) if missing else offers
            seconds = level.budget_seconds(len(offers)) if budget_s is None else budget_s
            refining_s = 0.0 if values is None else seconds_to_refine(seconds)
            count = max(workers.count_workers(info), 1)
            parts = list(_parts(offers, seconds=seconds - refining_s, workers=count))
            kinds.append(_Kind(info=info, offers=offers, parts=parts, refining_s=refining_s))
        farm = _Farm(client=client, workers=workers, store=store, kinds=kinds, progress=progress)
        with scheduler_errors(client):
            interrupted = farm.run(effort=level, seed=seed, force=force)
        refined: dict[str, list[Refined]] = {}
        if values is not None and not interrupted:
            whole = Model(network=network, weights=values)
            refined = farm.refine(whole, algorithms=algorithms, effort=effort)
        if out is not None:
            write_t4(out, _results_of(store, kinds))
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

    def refine(self, model: Model, *, algorithms: Algorithms | None, effort: str) -> dict[str, list[Refined]]:
        """Run the winners and their closest rivals in the network, on a device of each kind -> what changed there."""
        futures = {}
        for kind in (kind for kind in self.kinds if kind.tried and kind.refining_s):
            settings = partial(refine_on_worker, run=self.workers.name, algorithms=algorithms, effort=effort)
            task = partial(settings, seconds=kind.refining_s)
            resources = self.workers.resources(kind.info)
            content, known = self.client.scatter([model, self._known(kind, kind.offers)], hash=False)
            future = self.client.submit(task, content, known, resources=resources, pure=False)
            futures[device_key(kind.info)] = future
        refined = {}
        for device, future in futures.items():
            refined[device], records = future.result()
            keep(self.store, records)
        return refined

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
    keys = {result_key(kind.info, offer) for kind in kinds for offer in kind.offers}
    found = from_store(store, devices={device_key(kind.info) for kind in kinds})
    return replace(
        found,
        measurements=tuple(one for one in found.measurements if one.key in keys),
        best=tuple(one for one in found.best if one.key in keys),
    )
