"""`tune`: find the fastest tile of every layer problem of a model on a device, and keep it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import Any

from clprune.algorithms import Algorithms
from clprune.container.load import default_weights
from clprune.container.model import Model, load_model
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.errors import StoreError, UsageError
from clprune.geometry import problem_text
from clprune.kernels.base import Offer
from clprune.kernels.workload import WeightForm
from clprune.opencl import Session
from clprune.plan.forms import cfg_forms, weights_forms
from clprune.plan.plan import make_plan
from clprune.plan.steps import Step
from clprune.progress import OnProgress, Progress
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key
from clprune.tiles.store import Store, open_store
from clprune.tuning.effort import DEFAULT_EFFORT, Effort, effort_by_name
from clprune.tuning.refinement import OutOfTime, Refined, check_time, refine
from clprune.tuning.tune import Begun, Moment, offers_to_tune, places_of
from clprune.tuning.tune import tune as search
from clprune.workflow.inputs import Device, ModelLike, as_model, opened
from clprune.workflow.keywords import taking

#: The share of a budget that is kept for comparisons in the network itself, so many seconds at most, and how long the
#: budget must be for any.
REFINING_SHARE, MOST_SECONDS_TO_REFINE, FEWEST_SECONDS_TO_REFINE = 0.25, 60.0, 30.0

#: More would never end.
MOST_SECONDS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class TunedProblem:
    """What is known of one problem after a run; `default_ms` is None where the default tile was never timed.

    `measured_problem`: the key of the smaller problem that all times are of, or empty.
    """

    kernel: str
    problem: str
    workload: str
    tile: dict[str, Any]
    best_ms: float
    default_ms: float | None
    evaluations: int
    rejected: dict[str, int] = field(default_factory=dict)
    measured_problem: str = ""

    @property
    def speed_up(self) -> float | None:
        """How many times faster than the default tile, None where that was never timed."""
        return self.default_ms / self.best_ms if self.default_ms is not None and self.best_ms > 0 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """How many tiles of one problem were evaluated; `rejected` counts those that failed, by the kind of failure."""

    offer: Offer
    evaluations: int
    rejected: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What tuning found, of `count` problems that were to be tuned; Ctrl-C (`interrupted`) keeps what was found.

    `refined` are layers whose winner changed when it was measured in the network itself. `database` is where the tiles
    are kept, None for memory that ends with the process.
    """

    model: str
    batch: int
    device: DeviceInfo
    database: Path | None
    count: int
    interrupted: bool
    refined: tuple[Refined, ...]
    problems: tuple[TunedProblem, ...]

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON can hold them."""
        return {
            "model": self.model,
            "batch": self.batch,
            **self.device.facts,
            "interrupted": self.interrupted,
            "refined": [asdict(item) for item in self.refined],
            "problems": [asdict(problem) | {"speed_up": problem.speed_up} for problem in self.problems],
        }


@dataclass(frozen=True, eq=False)
class TuneSettings:
    """What `clprune.tune` takes, and describes."""

    model: ModelLike
    _: KW_ONLY
    weights: str | Path | None = None
    dialect: str | None = None
    effort: str = DEFAULT_EFFORT
    budget_s: float | None = None
    force: bool = False
    missing: bool = False
    kept: bool = True
    batch: int | None = None
    seed: int = 0
    device: Device = None
    algorithms: Algorithms | None = None
    progress: OnProgress | None = None

    @property
    def level(self) -> Effort:
        """How thoroughly it is searched. Raises UsageError for an unknown one."""
        return effort_by_name(self.effort)

    def input(self) -> tuple[Network, dict[int, WeightForm], Weights | None]:
        """`tuning_input` of the model."""
        return tuning_input(self.model, self.weights, batch=self.batch, dialect=self.dialect)

    def offers(self, store: Store, device: DeviceInfo, steps: Sequence[Step]) -> list[Offer]:
        """Those of a plan that are tuned."""
        offers = offers_to_tune(steps, likely_only=self.level.likely_only)
        return without_tuned(store, device, offers) if self.missing else offers

    def seconds(self, offers: Sequence[Offer]) -> float:
        """That it takes in all."""
        return self.level.budget_seconds(len(offers)) if self.budget_s is None else self.budget_s


@taking(TuneSettings)
def tune(asked: TuneSettings) -> TuneResult:
    """Time tiles for every problem of a model, each checked against float64 first, and keep the fastest.

    What each layer has lost to pruning is read from the weights (`weights`, or the file beside the cfg), else from the
    cfg's prune keys; where those prune nothing, random weights do as well. `dialect` is as in `load_model`. `effort` is
    "quick", "normal" or "thorough"; `budget_s` seconds replace its own. So long it takes in all, however slow the
    machine: the layers that have most to gain come first, and what the time does not reach keeps its shipped or default
    tile. Earlier measurements are used unless `force`; with `missing`, problems that have a tuned tile are left out. At
    last the winners and their closest rivals run in the network itself, in turns.
    KeyboardInterrupt ends the search and keeps what it found. Raises StoreError at once where nothing can be kept,
    unless `kept` is False: no database is used then; UsageError, NoDeviceError, LaunchError, and what reading the model
    raises.

    >>> result = clprune.tune("small.cfg", effort="quick", budget_s=0.5)
    >>> len(result.problems) > 0, result.interrupted
    (True, False)
    """
    if asked.budget_s is not None and not 0 <= asked.budget_s <= MOST_SECONDS:
        raise UsageError(f"a budget of {asked.budget_s} seconds: expected 0 to {MOST_SECONDS}")
    start = time.monotonic()
    network, forms, values = asked.input()
    level = asked.level
    with store_to_keep(kept=asked.kept) as store, opened(asked.device) as session:
        plan = make_plan(network, session.info, forms=forms, algorithms=asked.algorithms)
        values = values_to_refine(network, forms, values)
        offers = asked.offers(store, session.info, plan.steps)
        seconds = asked.seconds(offers)
        end = start + seconds
        refining_s = 0.0 if values is None else seconds_to_refine(seconds)
        tried, interrupted = tune_offers(
            session, store, offers, effort=level.name, budget_s=end - refining_s - time.monotonic(), seed=asked.seed,
            force=asked.force, progress=asked.progress, leaves_none=False, places=places_of(plan.steps),
        )  # fmt: skip
        refined: list[Refined] = []
        if values is not None and refining_s and tried and not interrupted and time.monotonic() < end:
            try:
                refined = refine_in_network(
                    session, store, network, values, algorithms=asked.algorithms, effort=asked.effort, until=end
                )
            except KeyboardInterrupt:
                interrupted = True
        problems = (stored_problem(store, session.info, one) for one in tried)
        return TuneResult(
            model=str(network.path),
            batch=network.batch,
            device=session.info,
            database=store.path,
            count=len(offers),
            interrupted=interrupted,
            refined=tuple(refined),
            problems=tuple(problem for problem in problems if problem is not None),
        )


def values_to_refine(network: Network, forms: Mapping[int, WeightForm], values: Weights | None) -> Weights | None:
    """`values`, or random ones in place of none where nothing is pruned."""
    if values is None and all(form.workload.is_dense for form in forms.values()):
        return random_weights(network, seed=0)
    return values


def seconds_to_refine(budget_s: float) -> float:
    """Seconds of a budget for comparing in the network."""
    is_enough = budget_s >= FEWEST_SECONDS_TO_REFINE
    return min(REFINING_SHARE * budget_s, MOST_SECONDS_TO_REFINE) if is_enough else 0.0


def store_to_keep(*, kept: bool) -> Store:
    """The database that results are kept in, or one in memory. Raises StoreError where nothing can be written."""
    try:
        return open_store(to_write=True) if kept else Store(None)
    except StoreError as error:
        found = str(error).removeprefix(f"{error.path}: ")
        advice = "nothing would be kept; mend that, or go on without by --no-keep"
        raise StoreError(f"{found}; {advice}", path=error.path) from error


def tuning_input(
    model: ModelLike, weights: str | Path | None = None, *, batch: int | None = None, dialect: str | None = None
) -> tuple[Network, dict[int, WeightForm], Weights | None]:
    """The network, what was removed from each layer, and the weights where there are any."""
    if isinstance(model, Model):
        model = as_model(model, batch=batch)
        return model.network, weights_forms(model.network, model.weights), model.weights
    if weights is not None or default_weights(model).exists():
        loaded = load_model(model, weights, batch=1 if batch is None else batch, dialect=dialect)
        return loaded.network, weights_forms(loaded.network, loaded.weights), loaded.weights
    network = load_network(model, batch=1 if batch is None else batch, dialect=dialect)
    return network, cfg_forms(network), None


def tune_offers(
    session: Session,
    store: Store,
    offers: Sequence[Offer],
    *,
    effort: str = DEFAULT_EFFORT,
    budget_s: float | None = None,
    seed: int = 0,
    force: bool = False,
    progress: OnProgress | None = None,
    begun: Begun | None = None,
    leaves_none: bool = True,
    places: Mapping[tuple[str, str, str], int] | None = None,
) -> tuple[list[Tried], bool]:
    """(what was tried, whether Ctrl-C ended it early); what was found is in `store`. `leaves_none` and `places` as in
    `clprune.tuning.tune`. Raises UsageError for an unknown effort.
    """
    if not offers:
        return [], False
    level = effort_by_name(effort)
    seconds = level.budget_seconds(len(offers)) if budget_s is None else budget_s
    evaluations: dict[Offer, int] = {}

    def report(moment: Moment) -> None:
        evaluations[moment.offer] = evaluations.get(moment.offer, 0) + 1
        if progress is not None:
            part = moment.number + 1
            place = f"{part}/{moment.count} {problem_text(moment.offer.operation.key)}"
            figures = {} if moment.best_ms is None else {"best ms": moment.best_ms}
            figures |= {"saved ms": moment.saved_ms} if moment.saved_ms else {}
            done = seconds - moment.left_s
            progress(Progress(stage="tuning", done=done, total=seconds, place=place, part=part, figures=figures))

    try:
        outcomes = search(
            session, store, offers, budget_s=seconds, effort=level, seed=seed, is_forced=force, progress=report,
            begun=begun, leaves_none=leaves_none, places=places,
        )  # fmt: skip
    except KeyboardInterrupt:
        return [Tried(offer=offer, evaluations=count) for offer, count in evaluations.items()], True
    return [Tried(offer=one.offer, evaluations=one.evaluations, rejected=one.rejected) for one in outcomes], False


def without_tuned(store: Store, device: DeviceInfo, offers: Iterable[Offer]) -> list[Offer]:
    """Those that have no tuned tile yet."""
    return [offer for offer in offers if store.best(result_key(device, offer), offer.kernel) is None]


def stored_problem(store: Store, device: DeviceInfo, tried: Tried) -> TunedProblem | None:
    """What the database holds of a problem by now, or None."""
    offer, key = tried.offer, result_key(device, tried.offer)
    best = store.best(key, offer.kernel)
    if best is None:
        return None
    kept = next(iter(store.all_best(**vars(key))), None)
    return TunedProblem(
        kernel=offer.kernel.name,
        problem=offer.operation.key,
        workload=offer.workload.key,
        tile=asdict(best[0]),
        best_ms=best[1],
        default_ms=kept.default_time_ms if kept else None,
        evaluations=tried.evaluations,
        rejected=tried.rejected,
        measured_problem=kept.measured_problem if kept else "",
    )


def refine_in_network(
    session: Session,
    store: Store,
    network: Network,
    weights: Weights,
    *,
    algorithms: Algorithms | None = None,
    effort: str = DEFAULT_EFFORT,
    until: float = math.inf,
) -> list[Refined]:
    """Measure the winners of tuning and their closest rivals in the network, and keep the fastest; until then, by
    time.monotonic(), where there is an end.
    """
    level, lookup = effort_by_name(effort), Lookup(store, session.info, session=session)

    def timely_lookup(offer: Offer) -> tuple[Any, str] | None:
        check_time(until)  # tiles from elsewhere are verified by that
        return lookup(offer)

    try:
        plan = make_plan(
            network,
            session.info,
            forms=weights_forms(network, weights),
            lookup=timely_lookup,
            times=lookup.time_ms,
            estimates=lookup.estimate_ms,
            algorithms=algorithms,
        )
    except OutOfTime:
        return []
    return refine(session, store, plan, weights, rounds=level.rounds, most=level.contenders, until=until)
