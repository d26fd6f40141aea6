"""The last word on a layer's kernel and tile: measured in the network, between the layers that it will run between.

Tuning times a layer alone, with caches as a network may leave them. What they really hold depends on the layers before:
where their output and the scratch memory lie, and which core computed what. So the winners of tuning and their closest
rivals are put into the network in turns, one for each layer at a time, and their fastest runs are compared with those
of the network as it was, in turns with them: the ratio minds neither a machine that is slower for a while nor threads
that now and then do all the work alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.errors import LaunchError
from clprune.kernels.base import Choice, Offer
from clprune.launching import timed_in_a_row
from clprune.opencl import Session
from clprune.plan.plan import Plan
from clprune.plan.steps import Chosen
from clprune.runner.binding import BoundPlan, BoundStep, bind_others, bind_plan
from clprune.tiles.records import MEASURED, Key, result_key
from clprune.tiles.store import Store
from clprune.turns import in_turns

#: Slower than the fastest kernel's winner, and than its own kernel's, by which a contender still takes part: times of
#: different kernels say less than those of one.
RIVAL_RATIO, OWN_RATIO = 1.7, 1.15

#: Contenders of a layer beside what the plan has.
MOST_CONTENDERS = 6

#: Rounds without which a comparison says nothing: it is not begun where there is no time for them.
FEWEST_ROUNDS = 3


class OutOfTime(Exception):
    """The seconds for comparing in the network are over."""


def check_time(until: float) -> None:
    """Raise OutOfTime after `until`, by time.monotonic()."""
    if time.monotonic() > until:
        raise OutOfTime


@dataclass(frozen=True, kw_only=True)
class Refined:
    """A layer for which the network's own measurement chose differently: milliseconds before and after."""

    layer: int
    label: str
    before_ms: float
    after_ms: float


def refine(
    session: Session,
    store: Store,
    plan: Plan,
    weights: Weights,
    *,
    rounds: int,
    most: int = MOST_CONTENDERS,
    until: float = math.inf,
) -> list[Refined]:
    """Measure the contenders of every step of `plan` in the network and keep the fastest of each kernel in `store`.

    `most` contenders per step, each in `rounds` runs. Only times count: padding that a contender would need cleared may
    not be. A device without memory for the contenders ends it early, and so does the time `until`, by time.monotonic():
    nothing is begun that would not be over by then, rounds that are left fall out, and what was compared before counts.
    Raises what `bind_plan` raises.
    """
    start, check = time.monotonic(), partial(check_time, until)
    try:
        bound = bind_plan(session, plan, weights, check=check)
    except OutOfTime:
        return []
    binding_s = time.monotonic() - start  # binding contenders will take as long
    steps = bound.plan.steps
    lists = [contenders(step, store, session.info, most=most, beside=steps) for step in steps]
    x = np.random.default_rng(0).random(plan.layouts[plan.host_input].elements, np.float32)
    own_ms: list[list[float]] = [[] for _ in lists]
    ratios: list[list[float]] = [[] for _ in lists]
    if not any(lists) or time.monotonic() + binding_s > until:
        return []
    run_s = sum(_times_ms(session, bound, bound.steps, x)) / 1e3
    for wave in range(max(map(len, lists))):
        start = time.monotonic()
        if start + binding_s + 2 * FEWEST_ROUNDS * run_s > until:
            break
        try:
            picked = [items[wave : wave + 1] for items in lists]
            others = _wave(session, bound, weights, picked, check=check)
            binding_s = time.monotonic() - start
            contestants = [partial(_timely, until - run_s, session, bound, steps, x) for steps in (bound.steps, others)]
            runs = in_turns(contestants, rounds=rounds, warmup=0)
        except (LaunchError, OutOfTime):
            break  # no memory for second copies of the weights, or no time: what was measured so far counts
        if min(map(len, runs)) < min(FEWEST_ROUNDS, rounds):
            break
        own, other = (list(zip(*times, strict=True)) for times in runs)
        for number, items in enumerate(lists):
            own_ms[number] += own[number]
            if wave < len(items):
                ratios[number].append(min(other[number]) / min(own[number]))
    results = [
        _Measured(step=step, contenders=choices[: len(found)], own_ms=times, ratios=found)
        for step, choices, times, found in zip(bound.plan.steps, lists, own_ms, ratios, strict=True)
        if found
    ]
    _keep(store, session.info, results)
    return [refined for measured in results if (refined := measured.refined) is not None]


def contenders(
    step: Chosen, store: Store, device: DeviceInfo, *, most: int, beside: Sequence[Chosen] = ()
) -> list[Choice]:
    """What is worth a try beside a convolution's own choice: other kernels' winners and tiles close to them, in turns
    with the tiles of the steps `beside` it, which like layers often share.

    Connected layers are bound by reading their weights once, wherever they run.
    """
    if not isinstance(step.layer, Convolutional):
        return []
    measured = [choice for choice in _close_to_the_fastest(step, store, device) if choice != step.choice]
    known = {step.choice, *measured}
    lent = [choice for choice in _lent(step, device, beside) if choice not in known] if measured else []
    mixed = (choice for pair in itertools.zip_longest(measured, lent) for choice in pair)
    return [choice for choice in mixed if choice is not None][:most]


def _lent(step: Chosen, device: DeviceInfo, beside: Sequence[Chosen]) -> list[Choice]:
    """Tiles of other steps that this one could have, those of most steps first."""
    counts = Counter((other.kernel, other.tile) for other in beside if isinstance(other.layer, Convolutional))
    return [
        Choice(offer=offer, tile=tile)
        for (kernel, tile), _ in counts.most_common()
        for offer in step.offers
        if offer.kernel is kernel and offer.rejection(tile, device) is None
    ]


def _close_to_the_fastest(step: Chosen, store: Store, device: DeviceInfo) -> list[Choice]:
    """Choices that come close to the fastest by the times of tuning, nearest to their own kernel's winner first."""
    ranked: list[tuple[float, float, Choice]] = []
    for offer in step.offers:
        times_ms = _times_of(offer, store, device)
        own_ms = min(times_ms.values(), default=0.0)
        ranked += [(ms / own_ms, own_ms, Choice(offer=offer, tile=tile)) for tile, ms in times_ms.items()]
    fastest_ms = min((own_ms for _, own_ms, _ in ranked), default=0.0)
    close = [item for item in ranked if item[0] <= OWN_RATIO and item[1] <= RIVAL_RATIO * fastest_ms]
    return [choice for *_, choice in sorted(close, key=lambda item: item[:2])]


def _times_of(offer: Offer, store: Store, device: DeviceInfo) -> dict[Any, float]:
    """Tile -> milliseconds of everything valid that was measured; the winner's are those of its last comparison."""
    key = result_key(device, offer)
    best = store.best(key, offer.kernel)
    if best is None:
        return {}
    here = store.measurements(key, offer.kernel, origin=MEASURED)
    measured = {tile: ms for tile, ms in here.items() if ms is not None}
    # Times of the search were taken at another moment than the winner's last: they are compared with its first.
    scale = best[1] / measured.get(best[0], best[1])
    times_ms = {tile: max(time_ms * scale, best[1]) for tile, time_ms in measured.items()} | {best[0]: best[1]}
    return {tile: ms for tile, ms in times_ms.items() if offer.rejection(tile, device) is None}


def _wave(
    session: Session,
    bound: BoundPlan,
    weights: Weights,
    picked: Sequence[Sequence[Choice]],
    *,
    check: Callable[[], None],
) -> list[BoundStep]:
    """The plan's steps with contenders in place of those that have one."""
    steps = {
        number: dataclasses.replace(bound.plan.steps[number], choice=choice)
        for number, choices in enumerate(picked)
        for choice in choices
    }
    others = dict(zip(steps, bind_others(session, bound, weights, list(steps.values()), check=check), strict=True))
    return [others.get(number, step) for number, step in enumerate(bound.steps)]


def _timely(until: float, *run: Any) -> list[float] | None:
    """One run's times, None where none may begin any more."""
    return None if time.monotonic() > until else _times_ms(*run)


def _times_ms(session: Session, bound: BoundPlan, steps: Sequence[BoundStep], x: Any) -> list[float]:
    """The steps' times in one run of the network."""
    session.write(bound.tensors[bound.plan.host_input], x)
    return [seconds * 1e3 for seconds in timed_in_a_row([step.bound for step in steps])]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """A step's own milliseconds in every run, and how many times as long its contenders' fastest runs take."""

    step: Chosen
    contenders: Sequence[Choice]
    own_ms: Sequence[float]
    ratios: Sequence[float]

    @property
    def times_ms(self) -> dict[Choice, float]:
        """Milliseconds of the step's own choice, which comes first, and of all contenders."""
        own_ms = min(self.own_ms)
        others = {choice: ratio * own_ms for choice, ratio in zip(self.contenders, self.ratios, strict=True)}
        return {self.step.choice: own_ms, **others}

    @property
    def refined(self) -> Refined | None:
        """What the layer gains, if it does."""
        times_ms = self.times_ms
        best, before_ms = min(times_ms, key=times_ms.__getitem__), times_ms[self.step.choice]
        if self.step.layer is None or times_ms[best] >= before_ms:
            return None
        return Refined(
            layer=self.step.layer.index, label=best.offer.label, before_ms=before_ms, after_ms=times_ms[best]
        )


def _keep(store: Store, device: DeviceInfo, results: Sequence[_Measured]) -> None:
    """Store each kernel's fastest tile with its milliseconds, as a candidate too if it was none; steps of one problem
    count together. A kernel that has no winner there, and was lent tiles, gets one where it is faster than the plan's.
    """
    tried: dict[Key, dict[Any, list[float]]] = {}
    planned: dict[Key, list[float]] = {}
    offers: dict[Key, Offer] = {}
    for measured in results:
        keys = set()
        for choice, time_ms in measured.times_ms.items():
            key = result_key(device, choice.offer)
            tried.setdefault(key, {}).setdefault(choice.tile, []).append(time_ms)
            offers[key] = choice.offer
            keys.add(key)
        for key in keys:
            planned.setdefault(key, []).append(measured.times_ms[measured.step.choice])
    for key, tiles in tried.items():
        # A tile that was not tried in every place of the problem cannot be compared with those that were.
        places = len(planned[key])
        everywhere = {tile: sum(times) / places for tile, times in tiles.items() if len(times) == places}
        if not everywhere:
            continue
        offer, tile = offers[key], min(everywhere, key=everywhere.__getitem__)
        time_ms, planned_ms = everywhere[tile], sum(planned[key]) / places
        if store.best(key, offer.kernel) is not None:
            store.move_best(key, tile, time_ms=time_ms)
        elif time_ms < planned_ms:
            default_ms = everywhere.get(offer.default_tile(device))
            store.set_best(key, tile, workload=offer.workload, time_ms=time_ms, default_time_ms=default_ms)
        else:
            continue
        if tile not in store.measurements(key, offer.kernel, origin=MEASURED):  # lent by another layer
            store.add_measurement(key, tile, time_ms=time_ms)
