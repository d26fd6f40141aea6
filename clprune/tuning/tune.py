"""Tune a plan's problems on a device within a budget of seconds: search, verify, time, keep."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
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
from clprune.tuning.schedule import Gain, Schedule, expected_gain, place_of, work_of
from clprune.tuning.spaces import Spaces
from clprune.tuning.transfer import similar_problems, starts_from
from clprune.tuning.trial import Trial

#: Winners that are measured again, in turns with the default, and how much slower than the first they may be.
FINALISTS = 3
FINALIST_RATIO = 1.15

#: Candidates per worker that are built before any of them is timed.
BATCH_PER_WORKER = 2

#: Seconds for what surrounds a run in a comparison: caches as in a network, a worker's answer.
_RUN_SECONDS = 0.01

#: What is under way when the seconds are over may take so much longer, then the comparison so much: what hangs is given
#: up. The first tile of all has some seconds however few there are, and a device's workers to open it.
GRACE_SECONDS, FEWEST_SECONDS, OPENING_SECONDS = 2.5, 10.0, 60.0

#: Where no time is left the finalists are compared in so many rounds.
_FEWEST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What tuning one problem gave; `rejected` counts candidates by the kind of their failure.

    `measured_problem` is the key of the smaller problem that was timed instead (see `Kernel.shortened`), or
    empty: all times are of that. `untuned_ms` is the time of the tile that look-ups gave before, measured in turns
    with the winner.
    """

    offer: Offer
    tile: Any
    time_ms: float
    default_time_ms: float
    untuned_ms: float
    evaluations: int
    rejected: dict[str, int]
    was_known: bool = False
    measured_problem: str = ""


class TuneWarning(ClpruneWarning):
    """A problem could not be tuned."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Tuning after one more evaluation: the problem at hand, the how many-th of `count` it is, counted from 0, seconds
    left, its best milliseconds so far if any, and milliseconds that the problems before it have gained together.
    """

    offer: Offer
    number: int
    count: int
    left_s: float
    best_ms: float | None
    saved_ms: float


#: Called after every evaluation.
Progress = Callable[[Moment], None]

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


def places_of(steps: Iterable[Step]) -> Counter[tuple[str, str, str]]:
    """How many steps the tuning of a problem serves, by `place_of` its offer."""
    return Counter(place for step in steps for place in {place_of(offer) for offer in step.offers})


def tune(
    session: Session,
    store: Store,
    offers: Sequence[Offer],
    *,
    budget_s: float | None = None,
    effort: Effort | None = None,
    seed: int = 0,
    is_forced: bool = False,
    leaves_none: bool = True,
    places: Mapping[tuple[str, str, str], int] | None = None,
    progress: Progress | None = None,
    begun: Begun | None = None,
    workers: int | None = None,
) -> list[Outcome]:
    """Tune each offer on `session`'s device and keep the winners in `store`.

    `budget_s` replaces the effort's own budget. Layers come in the order of what tuning may gain (their time, in as
    many `places` as they have, see `places_of`, and where their present tile is from), and what one does not need goes
    to the later ones. With `leaves_none` each is measured at least, whatever the budget; else the budget is kept, from
    the start of the workers to the last comparison, and what it does not reach stays as it is. What hangs is given up
    5 s after the end (15 s after the start of the workers, with `leaves_none` the effort's limit after the budget): it
    is tried again by a later run, and counts as invalid only once it had the effort's limit twice. What an earlier run
    measured is not measured again unless `is_forced`. KeyboardInterrupt keeps everything found so far.

    `workers` processes (by default one per core) run the candidates, so that a driver's crash costs no more than one.
    An offer whose tiles all end them has no outcome, and a TuneWarning says so. Raises NoDeviceError when they cannot
    open the device, LaunchError when not even the default is right, or nothing was measured in time.
    """
    effort = effort or effort_by_name(DEFAULT_EFFORT)
    end = time.monotonic() + (effort.budget_seconds(len(offers)) if budget_s is None else budget_s)
    store.add_device(session.info)
    places = places or {}
    with WorkerPool(session.info, count=workers, limit_s=effort.limit_seconds) as pool:
        layers = _by_worth(session, store, offers, places=places)
        tuner = _Tuner(
            pool=pool, store=store, session=session, effort=effort, seed=seed, is_forced=is_forced, count=len(offers),
            schedule=Schedule(end_s=end, leaves_none=leaves_none), gain=Gain(places=places), progress=progress,
            begun=begun or (lambda key, tiles: None),
        )  # fmt: skip
        pool.end_s = max(end, time.monotonic() + OPENING_SECONDS)
        pool.wait_until_open()  # what starting them costs is no layer's cost
        outcomes = tuner.tune(layers)
    if not outcomes and offers:
        reason = f"every worker process on {session.info.name} ended, or took longer than there was time"
        raise LaunchError(f"nothing was tuned: {reason}; try again, or with a longer budget")
    order = {place_of(offer): number for number, offer in enumerate(offers)}
    return sorted(outcomes, key=lambda outcome: order[place_of(outcome.offer)])


def _by_worth(
    session: Session, store: Store, offers: Sequence[Offer], *, places: Mapping[tuple[str, str, str], int]
) -> list[tuple[float, list[Offer]]]:
    """Layers with what they are worth, the most worthy first; the kernel that a plan would take now comes first."""
    lookup, ranked = Lookup(store, session.info), []
    for layer in by_layer(offers):
        estimates = {offer: lookup.time_ms(offer) or lookup.estimate_ms(offer) or math.inf for offer in layer}
        rivals = sorted(layer, key=estimates.__getitem__)
        found = lookup(rivals[0])
        count = max(places.get(place_of(offer), 1) for offer in rivals)
        ranked.append((count * work_of(rivals[0]) * expected_gain(found[1] if found else None), rivals))
    return sorted(ranked, key=lambda item: -item[0])


def by_layer(offers: Sequence[Offer]) -> list[list[Offer]]:
    """Offers for one layer together, layers in the order in which they first occur: so `tune` takes them."""
    layers: dict[Hashable, list[Offer]] = {}
    for offer in offers:
        layers.setdefault(rivalry(offer), []).append(offer)
    return list(layers.values())


def share_of_seconds(offer: Offer) -> float:
    """How many seconds an offer gets of a budget that several share, relative to others."""
    return math.sqrt(work_of(offer))


@dataclass(kw_only=True)
class _Tuner:
    """The tuning of `count` offers, layer after layer."""

    pool: WorkerPool
    store: Store
    session: Session
    effort: Effort
    seed: int
    is_forced: bool
    count: int
    schedule: Schedule
    gain: Gain
    progress: Progress | None
    begun: Begun
    number: int = 0

    def __post_init__(self) -> None:
        self.caches, self.spaces = Caches(self.session), Spaces(self.session.info)

    def tune(self, layers: Sequence[tuple[float, list[Offer]]]) -> list[Outcome]:
        """What was found for layers with what they are worth, until the time is over."""
        outcomes: list[Outcome] = []
        for place, (_, rivals) in enumerate(layers):
            seconds = self.schedule.share([worth for worth, _ in layers[place:]])
            if seconds is None:
                break
            found = self._compared(self._each(rivals, end_s=time.monotonic() + seconds))
            if found:
                best_ms = min(outcome.time_ms for outcome in found)
                self.gain.add(found[0].offer, before_ms=max(found[0].untuned_ms, best_ms), after_ms=best_ms)
            outcomes += found
            if not found and self.pool.is_over:
                break  # what hangs once the time is over would do so layer after layer
        return outcomes

    def _each(self, rivals: Sequence[Offer], *, end_s: float) -> list[tuple[_Run, Outcome]]:
        """Tune the kernels for one layer, the first of them in any case."""
        found: list[tuple[_Run, Outcome]] = []
        for place, offer in enumerate(rivals):
            start = time.monotonic()
            if place and not self.schedule.leaves_none and end_s - start < self.schedule.least_s:
                break
            run = _Run(
                pool=self.pool, store=self.store, session=self.session, spaces=self.spaces, offer=offer,
                effort=self.effort, report=partial(self._report, offer), begun=self.begun, tile_s=self.schedule.tile_s,
                keeps_end=not self.schedule.leaves_none,
                rival_ms=min((one.time_ms for _, one in found if not one.measured_problem), default=math.inf),
            )  # fmt: skip
            deadline = start + (end_s - start) / (len(rivals) - place)
            first_s = 0.0 if self.number else FEWEST_SECONDS
            least_s = self.effort.limit_seconds if self.schedule.leaves_none else first_s
            self.pool.end_s = max(self.schedule.end_s, start + least_s) + GRACE_SECONDS
            outcome = run.tune(deadline=deadline, seed=self.seed, is_forced=self.is_forced)
            seconds = time.monotonic() - start
            self.schedule.learn(seconds=seconds, tiles=run.searched, searching_s=run.searching_s)
            self.number += 1
            if outcome is not None:
                found.append((run, outcome))
        return found

    def _compared(self, found: Sequence[tuple[_Run, Outcome]]) -> list[Outcome]:
        """The outcomes with times of the same moment, where there is more than one and time for that."""
        is_late = not self.schedule.leaves_none and self.schedule.left_s < self.schedule.overhead_s
        if len(found) < 2 or is_late:
            return [outcome for _, outcome in found]
        entrants = [run.entrant(outcome.tile) for run, outcome in found]
        times_ms = times_in_turns(self.session, self.caches, entrants, rounds=self.effort.rounds)
        return [run.retimed(outcome, time_ms) for (run, outcome), time_ms in zip(found, times_ms, strict=True)]

    def _report(self, offer: Offer, best_ms: float | None) -> None:
        if self.progress is not None:
            left_s, saved_ms = max(0.0, self.schedule.left_s), self.gain.saved_ms
            moment = Moment(
                offer=offer, number=self.number, count=self.count, left_s=left_s, best_ms=best_ms, saved_ms=saved_ms
            )
            self.progress(moment)


@dataclass(kw_only=True)
class _Run:
    """The tuning of one offer, on the problem `operation`, which is shorter where that is enough.

    `rival_ms`: what another kernel has reached for the layer.
    """

    pool: WorkerPool
    store: Store
    session: Session
    spaces: Spaces
    offer: Offer
    effort: Effort
    report: Callable[[float | None], None]
    begun: Begun
    tile_s: float
    keeps_end: bool
    rival_ms: float
    evaluations: int = 0
    searched: int = 0
    searching_s: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        offer, info = self.offer, self.session.info
        self.key = result_key(info, offer)
        self.operation = offer.kernel.shortened(offer.operation, offer.workload, info)
        self.measured_problem = self.operation.key if self.operation is not offer.operation else ""
        self.default_tile = offer.default_tile(info)
        self.found = Lookup(self.store, info)(offer)
        self.sample = offer.kernel.sample(self.operation, offer.workload)

    def entrant(self, tile: Any) -> tuple[Choice, Sample]:
        """What `tune` found, with the problem and data that it was found on."""
        return Choice(offer=replace(self.offer, operation=self.operation), tile=tile), self.sample

    def tune(self, *, deadline: float, seed: int, is_forced: bool) -> Outcome | None:
        """Search until `deadline` and keep the winner, None where the driver ended every worker, or nothing in time.

        Raises LaunchError when no tile is right.
        """
        search = self._search(seed=seed, is_forced=is_forced)
        self.pool.set_task(self.offer.kernel, self.operation, self.sample)
        try:
            self._go_through(search, deadline=deadline)
        except KeyboardInterrupt:
            if self.evaluations:
                self.pool.cancel()
                self._settle(search, deadline=time.monotonic())
            raise
        return self._settle(search, deadline=deadline if self.keeps_end else math.inf)

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
        default = kernel.default_for(self.operation, self.offer.workload, info)
        present = (self.found or ())[:1]  # also what was shipped or predicted: nothing slower may take its place
        return ModelSearch(
            self.spaces.candidates(kernel, self.operation),
            parameters=kernel.parameters,
            starts=[*present, default, *starts_from(similar), *kernel.ranked_tiles(self.operation, info)],
            known={} if is_forced else self.store.measurements(self.key, kernel, origin=MEASURED),
            similar=similar,
            seed=seed,
        )

    def _go_through(self, search: ModelSearch, *, deadline: float) -> None:
        """Evaluate what the search asks for until it is content or the time is over."""
        batch, content, began = BATCH_PER_WORKER * self.pool.count, 0, time.monotonic()
        while self.evaluations == 0 or time.monotonic() + self.tile_s + self._settle_s(search) < deadline:
            start = time.monotonic()
            count = max(1, min(batch, int((deadline - start - self._settle_s(search)) / self.tile_s)))
            tiles = [tile for tile in (search.ask() for _ in range(count)) if tile is not None]
            if not tiles:
                break
            best = search.best
            self.begun(self.key, tiles)
            until = deadline if self.keeps_end else math.inf
            trials = self.pool.evaluate(tiles, best_ms=best[1] if best else None, until=until)
            if not trials and not self.evaluations and not self.pool.is_over:
                trials = self.pool.evaluate(tiles[:1], best_ms=None)
            for trial in trials:
                self._keep(trial)
                search.tell(trial.tile, trial.time_ms)
                self.report(search.best[1] if search.best else None)
            if self.pool.is_over:
                break
            self.pool.keep_only(self._finalists(search))
            self.tile_s = (time.monotonic() - start) / len(tiles)
            if self._is_hopeless(search):
                break
            content = content + 1 if search.expected_improvement < self.effort.patience else 0
            if content >= 2:
                break
        self.searched, self.searching_s = self.evaluations, time.monotonic() - began

    def _is_hopeless(self, search: ModelSearch) -> bool:
        """Whether another kernel is far ahead, by times of the layer itself."""
        best_ms = search.best[1] if search.best and not self.measured_problem else 0.0
        return best_ms > self.effort.hopeless_ratio * self.rival_ms

    def _settle_s(self, search: ModelSearch, *, rounds: int = 0) -> float:
        """Seconds that the final comparison will take."""
        best_ms = search.best[1] if search.best else 0.0
        finalists = len(self._finalists(search)) if search.best else 1
        return finalists * ((rounds or self.effort.rounds) + 1) * (best_ms * 1e-3 + _RUN_SECONDS)

    def _keep(self, trial: Trial) -> None:
        if trial.is_lost and trial.tile == self.default_tile:
            self.evaluations += 1
            return  # what every other tile is compared with is asked again, by a later run too
        names = ("time_ms", "invalidity", "build_ms", "runs_ms", "relative_error")
        facts = {name: getattr(trial, name) for name in names}
        self.store.add_measurement(self.key, trial.tile, measured_problem=self.measured_problem, **facts)
        self.evaluations += 1  # now that it is kept: Ctrl-C may come at any time
        if trial.time_ms is None:
            self.rejected[trial.invalidity] += 1

    def _finalists(self, search: ModelSearch) -> list[Any]:
        """The default and what was taken untuned, tried or not, and the fastest few, which one of them may be."""
        best = search.fastest(FINALISTS)
        near = [tile for tile, time_ms in best if time_ms <= FINALIST_RATIO * best[0][1]]
        untuned = [tile for tile in (self.found or ())[:1] if not search.is_invalid(tile)]
        return list(dict.fromkeys([self.default_tile, *untuned, *near]))

    def _settle(self, search: ModelSearch, *, deadline: float) -> Outcome | None:
        """Measure the finalists again beside the default, in turns, in fewer rounds where `deadline` is near; the
        fastest is kept. Those that the search had no time for, or not in its space, are evaluated by that. Where not
        even one round is over in time, the times of the search count.
        """
        self.pool.end_s = max(self.pool.end_s, time.monotonic()) + GRACE_SECONDS
        rounds = self.effort.rounds
        if math.isfinite(deadline):
            left = (deadline - time.monotonic()) / self._settle_s(search, rounds=rounds)
            rounds = max(_FEWEST_ROUNDS, min(rounds, int(rounds * left)))
        finalists = self._finalists(search)
        known_tiles = self.store.measurements(self.key, self.offer.kernel, origin=MEASURED)
        if new := [tile for tile in finalists if tile not in known_tiles]:
            self.begun(self.key, new)
        trials = self.pool.run_in_turns(finalists, rounds=rounds)
        for trial in trials:
            if trial.tile in new:
                self._keep(trial)
        times_ms = {trial.tile: trial.time_ms for trial in trials if trial.time_ms is not None}
        is_over = self.pool.is_over
        if not times_ms and is_over:
            times_ms = dict(search.fastest(1))
        if not times_ms:
            where = f"{self.offer.kernel.name} {self.offer.operation.key} on {self.session.info.name}"
            if not self.pool.has_losses and not is_over:
                raise LaunchError(f"{where}: no tile runs; `clprune verify` says more")
            reason = "no tile was timed in time" if is_over else "worker processes ended again and again"
            warnings.warn(TuneWarning(f"{where} is not tuned: {reason}"), stacklevel=2)
            return None
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
            untuned_ms=times_ms.get(self.found[0] if self.found else self.default_tile, times_ms[winner]),
            evaluations=self.evaluations,
            rejected=dict(self.rejected),
            was_known=self.evaluations == 0,
            measured_problem=self.measured_problem,
        )
        self._kept(outcome)
        for _ in new:
            self.report(outcome.time_ms)
        return outcome
