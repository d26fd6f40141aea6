"""What each layer of a pruned network takes on a device: what choosing among pruning variants wants to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from clprune.algorithms import Algorithms
from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.opencl import Session
from clprune.pruning.network import with_prune_options
from clprune.runner.bench import ROUNDS, measure_steps
from clprune.runner.runner import Runner


def layer_times(
    session: Session,
    network: Network,
    weights: Weights,
    plan: Mapping[int, PruneOptions],
    *,
    batch: int = 1,
    rounds: int = ROUNDS,
    algorithms: Algorithms | None = None,
) -> dict[int, float]:
    """Layer index -> best milliseconds for `batch` images, of `weights` that were pruned as `plan` says.

    Tiles are those of the tuning database, where it has them. Raises what Runner raises.
    """
    annotated = replace(with_prune_options(network, plan), batch=batch)
    with Runner(annotated, weights, session=session, algorithms=algorithms) as runner:
        _, steps = measure_steps(runner, rounds=rounds)
    times: dict[int, float] = {}
    for step in steps:
        if step.layer is not None:
            times[step.layer] = times.get(step.layer, 0.0) + step.best_ms
    return times
