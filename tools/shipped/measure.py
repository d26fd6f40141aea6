"""Measure tiles for a table: on one core, by the processor's own time, so that other programs do not count.

What makes a tile fast on a CPU is the work of one core: registers, loads, the nearest caches. One thread computes, and
the clock of the process runs only while it does: the fastest of several runs says the same on a busy machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from clprune.candidate import Candidate
from clprune.errors import LaunchError
from clprune.kernels.base import Offer
from clprune.opencl import Session
from clprune.tiles.records import MEASURED, result_key
from clprune.tiles.store import Store
from clprune.tuning.model_search import ModelSearch
from clprune.tuning.spaces import Spaces
from clprune.tuning.transfer import similar_problems, starts_from
from clprune.tuning.trial import Evaluator, Prepared, Trial
from clprune.turns import in_turns

#: The fastest tiles, run in turns with the default at last.
FINALISTS, ROUNDS = 4, 9

#: A tile is hopeless that takes so many times the best in its first runs.
HOPELESS = 1.5


class ProcessorClock(Evaluator):
    """An evaluator whose milliseconds are those that this process computes."""

    def _timed_ms(self, candidate: Candidate) -> float:
        for launch in self._caches.launches(candidate.warm):
            launch.enqueue()
        self._session.finish()
        return self._run_ms(candidate)

    def _run_ms(self, candidate: Candidate) -> float:
        start = time.process_time()
        candidate.bound.enqueue()
        self._session.finish()
        return (time.process_time() - start) * 1e3


@dataclass(kw_only=True)
class Measuring:
    """Tiles of one problem after another, kept in `store`: at most `evaluations` of each."""

    session: Session
    store: Store
    evaluations: int

    def __post_init__(self) -> None:
        self.evaluator, self.spaces = ProcessorClock(self.session), Spaces(self.session.info)
        self.store.add_device(self.session.info)

    def best_of(self, offer: Offer) -> tuple[Any, float, float]:
        """(tile, its milliseconds, the default's) of an offer, found now or before."""
        search = self._searched(offer)
        default = offer.default_tile(self.session.info)
        finalists = list(dict.fromkeys([default, *(tile for tile, _ in search.fastest(FINALISTS))]))
        ready = [tile for tile in finalists if self._is_ready(tile)]
        runs = in_turns([partial(self.evaluator.run, tile) for tile in ready], rounds=ROUNDS)
        times_ms = {tile: min(times) for tile, times in zip(ready, runs, strict=True)}
        if not times_ms:
            raise LaunchError(f"{offer.kernel.name} {offer.operation.key}: no tile runs on {self.session.info.name}")
        winner = min(times_ms, key=times_ms.__getitem__)
        default_ms = times_ms.get(default, times_ms[winner])
        key, measured = result_key(self.session.info, offer), self._operation(offer)
        self.store.set_best(
            key,
            winner,
            workload=offer.workload,
            time_ms=times_ms[winner],
            default_time_ms=default_ms,
            measured_problem="" if measured is offer.operation else measured.key,
        )
        return winner, times_ms[winner], default_ms

    def _operation(self, offer: Offer) -> Any:
        return offer.kernel.shortened(offer.operation, offer.workload, self.session.info)

    def _is_ready(self, tile: Any) -> bool:
        return isinstance(self.evaluator.prepare(tile, None), Prepared)

    def _searched(self, offer: Offer) -> ModelSearch:
        kernel, info, operation = offer.kernel, self.session.info, self._operation(offer)
        key = result_key(info, offer)
        similar = similar_problems(self.store, key, kernel)
        own = [kernel.default_for(operation, offer.workload, info), *kernel.ranked_tiles(operation, info)[:8]]
        search = ModelSearch(
            [
                tile
                for tile in self.spaces.candidates(kernel, operation)
                if tile == kernel.spread(tile, operation, info)
            ],
            parameters=kernel.parameters,
            starts=[own[0], *starts_from(similar), *own[1:]],
            known=self.store.measurements(key, kernel, origin=MEASURED),
            similar=similar,
        )
        self.evaluator.set_task(kernel, operation, kernel.sample(operation, offer.workload))
        for _ in range(self.evaluations):
            tile = search.ask()
            if tile is None:
                break
            best = search.best
            trial = self._trial(tile, best[1] if best else None)
            search.tell(tile, trial.time_ms)
            self.evaluator.keep_only([known for known, _ in search.fastest(FINALISTS)])
            names = ("time_ms", "invalidity", "build_ms", "runs_ms", "relative_error")
            self.store.add_measurement(key, tile, **{name: getattr(trial, name) for name in names})
        return search

    def _trial(self, tile: Any, best_ms: float | None) -> Trial:
        prepared = self.evaluator.prepare(tile, None if best_ms is None else HOPELESS * best_ms)
        return prepared if isinstance(prepared, Trial) else self.evaluator.time(tile, best_ms)
