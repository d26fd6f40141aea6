"""Milliseconds of every layer, whichever way it is pruned: measured on the device, and interpolated between shares.

All layers are pruned the same way at once and each is timed alone in that network, so that a way costs one set-up; a
whole inference tells what they take together.
Tiles are those of the tuning database, searched for where there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from clprune.container.model import Model
from clprune.kernels.base import Offer
from clprune.opencl import Session
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.runner import Runner
from clprune.runner.bench import measure_steps
from clprune.runner.compare import time_in_turns
from clprune.tiles.records import result_key
from clprune.tiles.store import Store
from clprune.tuning.effort import effort_by_name
from clprune.tuning.tune import offers_to_tune, tune
from clprune.turns import in_turns

#: Rounds of timing, at least, and milliseconds that they take in all where a network is fast; in so many blocks.
ROUNDS, MEASURED_MS, BLOCKS = 15, 600.0, 3


def tune_missing(session: Session, store: Store, model: Model, *, budget_s: float) -> int:
    """Search tiles for what has none, for so many seconds; returns how many problems that were."""
    if budget_s <= 0:
        return 0
    effort = effort_by_name("quick")
    plan = make_plan(model.network, session.info, forms=weights_forms(model.network, model.weights))
    missing = [offer for offer in offers_to_tune(plan.steps, likely_only=True) if not _is_tuned(store, session, offer)]
    if missing:
        tune(session, store, missing, budget_s=min(budget_s, effort.budget_seconds(len(missing))), effort=effort)
    return len(missing)


def _is_tuned(store: Store, session: Session, offer: Offer) -> bool:
    return store.best(result_key(session.info, offer), offer.kernel) is not None


def measure(session: Session, model: Model, *, beside: Model | None = None) -> dict[str, Any]:
    """`{"whole_ms": best of whole inferences, "layers": {index as text: best ms}}`, as a record keeps it.

    Layers without a matrix count to the one before that has one, which may compute them in some plans. With `beside`
    there is `"beside_ms"`, too, the best of whole inferences of that model at the same time.
    """
    with ExitStack() as stack:
        runner = stack.enter_context(Runner(model, session=session))
        (quick_ms,), _ = measure_steps(runner, rounds=1)
        rounds = max(ROUNDS, int(MEASURED_MS / (2 * quick_ms))) // BLOCKS
        turns: list[Callable[[], Any]] = [partial(measure_steps, runner, rounds=rounds)]
        if beside is not None:
            other = stack.enter_context(Runner(beside, session=session))
            (quick,) = time_in_turns([other], rounds=1)
            few = max(1, int(MEASURED_MS / (2 * quick.best_ms)) // BLOCKS)
            turns.append(partial(time_in_turns, [other], rounds=few, warmup=0))
        own, *others = in_turns(turns, rounds=BLOCKS, warmup=0)
    owners = [layer.index for layer in model.network.matrix_layers]
    layers = {str(index): 0.0 for index in owners}
    for same in zip(*(steps for _, steps in own), strict=True):
        if same[0].layer is not None:
            owner = max((index for index in owners if index <= same[0].layer), default=owners[0])
            layers[str(owner)] += min(step.best_ms for step in same)
    found = {"whole_ms": min(time_ms for whole_ms, _ in own for time_ms in whole_ms), "layers": layers}
    if others:
        found["beside_ms"] = min(series.best_ms for (series,) in others[0])
    return found


def overhead_of(runs: Sequence[tuple[float, float]]) -> float:
    """What an inference takes beside its layers, from (sum of the layers alone, whole inference) of networks, in ms.

    Where a straight line with the least squared relative errors meets no layers at all; 0 where networks are too few or
    too alike for one, or the line says what cannot be.
    """
    sums, wholes = (np.array(values, np.float64) for values in zip(*runs, strict=True))
    if len(runs) <= 2 or np.ptp(sums) <= 0.1 * sums.max():
        return 0.0
    slope, overhead = (float(value) for value in np.polyfit(sums, wholes, 1, w=1 / wholes))
    return overhead if slope > 0 and 0 <= overhead < wholes.min() else 0.0


def parts_of(whole_ms: float, layers: Mapping[int, float]) -> dict[int, float]:
    """What each layer takes of the `whole_ms` of all, from milliseconds `layers` alone.

    Alone a layer finds its weights in the cache. How much more it takes among others depends on what all of them are:
    with weights in the Winograd domain, whole inferences took 1.7 times the sum, with dense ones 1.25.
    """
    alone_ms = sum(layers.values())
    return {index: time_ms * whole_ms / alone_ms for index, time_ms in layers.items()} if alone_ms else dict(layers)


def interpolated(curve: Mapping[float, float], share: float) -> float | None:
    """The value at `share` of one measured at shares, None where the curve does not allow it.

    Between two neighbours it goes straight, and must not rise with the share.
    """
    below, above = [known for known in curve if known < share], [known for known in curve if known > share]
    if not below or not above:
        return None
    first, last = max(below), min(above)
    if curve[last] > curve[first]:
        return None
    return curve[first] + (curve[last] - curve[first]) * (share - first) / (last - first)
