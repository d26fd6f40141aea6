"""Tune a plan's problems on a device within a budget of seconds: search, verify, time, keep."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clprune.errors import ClpruneWarning, LaunchError
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Choice, Offer
from clprune.kernels.matrix import MatrixKernel
from clprune.opencl import Session
from clprune.plan.steps import Step
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import MEASURED, Key, result_key
from clprune.tiles.store import Store
from clprune.tuning.caches import Caches
from clprune.tuning.contest import rivalry, times_in_turns
from clprune.tuning.effort import DEFAULT_EFFORT, Effort, effort_by_name
from clprune.tuning.model_search import ModelSearch
from clprune.tuning.pool import WorkerPool
from clprune.tuning.spaces import Spaces
from clprune.tuning.transfer import similar_problems, starts_from
from clprune.tuning.trial import Trial

#: Winners that are measured again, in turns with the default, and how much slower than the first they may be.
FINALISTS = 3
FINALIST_RATIO = 1.15

#: Candidates per worker that are built before any of them is timed.
BATCH_PER_WORKER = 2

#: What a batch is taken to cost before the first one has been measured.
_FIRST_BATCH_SECONDS = 1.0

#: Seconds go to offers in proportion to this power of their work.
_SHARE_EXPONENT = 0.4

#: Seconds kept back for each problem's final comparisons, with its other tiles and with other kernels.
_SETTLE_SECONDS = 0.6


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What tuning one problem gave; `rejected` counts candidates by the kind of their failure.

    `measured_problem` is the key of the smaller problem that was timed instead (see `Kernel.shortened`), or
    empty: all times are of that.
    """

    offer: Offer
    tile: Any
    time_ms: float
    default_time_ms: float
    evaluations: int
    rejected: dict[str, int]
    was_known: bool = False
    measured_problem: str = ""


class TuneWarning(ClpruneWarning):
    """A problem could not be tuned."""


#: Called after every evaluation with (offer number, offers, seconds left, best ms so far or None).
Progress = Callable[[int, int, float, "float | None"], None]

#: Called before tiles are evaluated, with the key of their problem.
Begun = Callable[[Key, Sequence[Any]], None]


def offers_to_tune(steps: Iterable[Step], *, likely_only: bool = False) -> list[Offer]:
    """The different problems among a plan's steps that are worth tuning: those with weights, by every kernel that a
    step offers, or with `likely_only` by those that a short search should not leave out.
    """
    different: dict[tuple[str, str, str], Offer] = {}
    for step in steps:
        for offer in step.offers:
            if isinstance(offer.kernel, MatrixKernel) and (offer.is_likely or not likely_only):
                different.setdefault((offer.kernel.name, offer.operation.key, offer.workload.key), offer)
    return list(different.values())


def tune(
    session: Session,
    store: Store,
    offers: Sequence[Offer],
    *,
    budget_s: float | None = None,
    effort: Effort | None = None,
    seed: int = 0,
    is_forced: bool = False,
    progress: Progress | None = None,
    begun: Begun | None = None,
    workers: int | None = None,
) -> list[Outcome]:
    """Tune each offer on `session`'s device and keep the winners in `store`.

    `budget_s` replaces the effort's own budget. Large layers get more seconds than small ones, though not in
    proportion to their work; what an offer does not need goes to the later ones. What an earlier run
    measured is not measured again unless `is_forced`. KeyboardInterrupt keeps everything found so far.

    `workers` processes (by default one per core) run the candidates, so that a driver's crash costs no more than one.
    An offer whose tiles all end them has no outcome, and a TuneWarning says so. Raises NoDeviceError when they cannot
    open the device, LaunchError when not even the default is right.
    """
    effort = effort or effort_by_name(DEFAULT_EFFORT)
    end = time.monotonic() + (effort.budget_seconds(len(offers)) if budget_s is None else budget_s)
    layers = by_layer(offers)
    weights = [share_of_seconds(offer) for rivals in layers for offer in rivals]
    store.add_device(session.info)
    outcomes: list[Outcome] = []
    number = 0
    caches, spaces = Caches(session), Spaces(session.info)
    with WorkerPool(session.info, count=workers, limit_s=effort.limit_seconds) as pool:
        for rivals in layers:
            found: list[tuple[_Run, Outcome]] = []
            for offer in rivals:
                left = end - time.monotonic() - _SETTLE_SECONDS * (len(weights) - number)
                deadline = time.monotonic() + max(0.0, left * weights[number] / sum(weights[number:]))

                def report(best: float | None, number: int = number) -> None:
                    if progress is not None:
                        progress(number, len(weights), max(0.0, end - time.monotonic()), best)

                run = _Run(
                    pool=pool, store=store, session=session, spaces=spaces, offer=offer, effort=effort, report=report,
                    begun=begun or (lambda key, tiles: None),
                )  # fmt: skip
                outcome = run.tune(deadline=deadline, seed=seed, is_forced=is_forced)
                number += 1
                if outcome is not None:
                    found.append((run, outcome))
            if len(found) > 1:
                entrants = [run.entrant(outcome.tile) for run, outcome in found]
                times_ms = times_in_turns(session, caches, entrants, rounds=effort.rounds)
                turns = zip(found, times_ms, strict=True)
                outcomes += [run.retimed(outcome, time_ms) for (run, outcome), time_ms in turns]
            else:
                outcomes += [outcome for _, outcome in found]
    if not outcomes and offers:
        raise LaunchError(f"nothing was tuned: every worker process ended on {session.info.name}; try again")
    return outcomes


def by_layer(offers: Sequence[Offer]) -> list[list[Offer]]:
    """Offers for one layer together, layers in the order in which they first occur: so `tune` takes them."""
    layers: dict[Hashable, list[Offer]] = {}
    for offer in offers:
        layers.setdefault(rivalry(offer), []).append(offer)
    return list(layers.values())


def share_of_seconds(offer: Offer) -> float:
    """How many seconds an offer gets of a budget, relative to others: more for large layers, not in proportion."""
    return math.pow(_work(offer), _SHARE_EXPONENT)


def _work(offer: Offer) -> float:
    """A guess of an offer's time that holds for layers bound by arithmetic, by weights and by activations alike.

    A byte of weights takes as long as about 10 operations, one of activations as long as 30, on CPUs and GPUs.
    """
    operation, problem = offer.operation, offer.operation.problem
    weight_bytes = 4 * problem.columns * getattr(problem, "outputs", 0)
    activation_bytes = 4 * operation.output.elements if hasattr(operation, "output") else 0
    return float(offer.workload.kept_share * (operation.flops + 10 * weight_bytes) + 30 * activation_bytes + 1.0)


@dataclass(kw_only=True)
class _Run:
    """The tuning of one offer, on the problem `operation`, which is shorter where that is enough."""

    pool: WorkerPool
    store: Store
    session: Session
    spaces: Spaces
    offer: Offer
    effort: Effort
    report: Callable[[float | None], None]
    begun: Begun
    evaluations: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        offer, info = self.offer, self.session.info
        self.key = result_key(info, offer)
        self.operation = offer.kernel.shortened(offer.operation, offer.workload, info)
        self.measured_problem = self.operation.key if self.operation is not offer.operation else ""
        self.default_tile = offer.kernel.default_tile(offer.operation, info)
        self.sample = offer.kernel.sample(self.operation, offer.workload)

    def entrant(self, tile: Any) -> tuple[Choice, Sample]:
        """What `tune` found, with the problem and data that it was found on."""
        return Choice(offer=replace(self.offer, operation=self.operation), tile=tile), self.sample

    def tune(self, *, deadline: float, seed: int, is_forced: bool) -> Outcome | None:
        """Search until `deadline` and keep the winner, None where the driver ended every worker.

        Raises LaunchError when no tile is right.
        """
        search = self._search(seed=seed, is_forced=is_forced)
        self.pool.set_task(self.offer.kernel, self.operation, self.sample)
        try:
            self._go_through(search, deadline=deadline)
        except KeyboardInterrupt:
            if self.evaluations:
                self.pool.cancel()
                self._settle(search)
            raise
        return self._settle(search)

    def retimed(self, outcome: Outcome, time_ms: float | None) -> Outcome:
        """The outcome with another time, if there is one; its default was timed beside the winner and moves along."""
        if time_ms is None:
            return outcome
        default_time_ms = max(time_ms, outcome.default_time_ms * time_ms / outcome.time_ms)  # rounding aside
        return self._kept(replace(outcome, time_ms=time_ms, default_time_ms=default_time_ms))

    def _kept(self, outcome: Outcome) -> Outcome:
        """The outcome, which the store has then."""
        self.store.set_best(
            self.key,
            outcome.tile,
            workload=self.offer.workload,
            time_ms=outcome.time_ms,
            default_time_ms=outcome.default_time_ms,
            measured_problem=self.measured_problem,
        )
        return outcome

    def _search(self, *, seed: int, is_forced: bool) -> ModelSearch:
        kernel, info = self.offer.kernel, self.session.info
        similar = similar_problems(self.store, self.key, kernel)
        defaults = (kernel.default_tile(self.operation, info), *kernel.own_tiles(info))
        known = Lookup(self.store, info)(self.offer)  # also what was predicted
        return ModelSearch(
            self.spaces.candidates(kernel, self.operation),
            parameters=kernel.parameters,
            starts=[*defaults[:1], *(known or ())[:1], *starts_from(similar), *defaults[1:]],
            known={} if is_forced else self.store.measurements(self.key, kernel, origin=MEASURED),
            similar=similar,
            seed=seed,
        )

    def _go_through(self, search: ModelSearch, *, deadline: float) -> None:
        """Evaluate what the search asks for until it is content or the time is over."""
        batch = BATCH_PER_WORKER * self.pool.count
        batch_s, content = _FIRST_BATCH_SECONDS, 0
        while self.evaluations == 0 or time.monotonic() + batch_s / batch < deadline:
            start = time.monotonic()
            count = max(1, min(batch, int(batch * (deadline - start) / batch_s)))
            tiles = [tile for tile in (search.ask() for _ in range(count)) if tile is not None]
            if not tiles:
                return
            best = search.best
            self.begun(self.key, tiles)
            for trial in self.pool.evaluate(tiles, best_ms=best[1] if best else None):
                self._keep(trial)
                search.tell(trial.tile, trial.time_ms)
                self.report(search.best[1] if search.best else None)
            self.pool.keep_only(self._finalists(search))
            batch_s = (time.monotonic() - start) * batch / len(tiles)
            content = content + 1 if search.expected_improvement < self.effort.patience else 0
            if content >= 2:
                return

    def _keep(self, trial: Trial) -> None:
        self.evaluations += 1
        if trial.is_lost and trial.tile == self.default_tile:
            return  # what every other tile is compared with is asked again, by a later run too
        if trial.time_ms is None:
            self.rejected[trial.invalidity] += 1
        names = ("time_ms", "invalidity", "build_ms", "runs_ms", "relative_error")
        facts = {name: getattr(trial, name) for name in names}
        self.store.add_measurement(self.key, trial.tile, measured_problem=self.measured_problem, **facts)

    def _finalists(self, search: ModelSearch) -> list[Any]:
        """The default and the fastest few, which one of them may turn out to be."""
        best = search.fastest(FINALISTS)
        near = [tile for tile, time_ms in best if time_ms <= FINALIST_RATIO * best[0][1]]
        return list(dict.fromkeys([self.default_tile, *near]))

    def _settle(self, search: ModelSearch) -> Outcome | None:
        """Measure the finalists again beside the default, in turns; the fastest is kept."""
        runs = self.pool.run_in_turns(self._finalists(search), rounds=self.effort.rounds)
        if not runs:
            where = f"{self.offer.kernel.name} {self.offer.operation.key} on {self.session.info.name}"
            if not self.pool.has_losses:
                raise LaunchError(f"{where}: no tile runs; `clprune verify` says more")
            warnings.warn(TuneWarning(f"{where} is not tuned: worker processes ended again and again"), stacklevel=2)
            return None
        times_ms = {tile: min(times) for tile, times in runs.items()}
        winner = min(times_ms, key=times_ms.__getitem__)
        known = self.store.best(self.key, self.offer.kernel)
        if known is not None and known[0] == winner:
            # What took less before was disturbed now: other kernels' times for the layer are compared with this one.
            times_ms[winner] = min(times_ms[winner], known[1])
        outcome = Outcome(
            offer=self.offer,
            tile=winner,
            time_ms=times_ms[winner],
            default_time_ms=times_ms.get(self.default_tile, times_ms[winner]),
            evaluations=self.evaluations,
            rejected=dict(self.rejected),
            was_known=self.evaluations == 0,
            measured_problem=self.measured_problem,
        )
        return self._kept(outcome)
