"""What models take and answer on a device, beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clprune.container.model import Model
from clprune.darknet.network import Network
from clprune.dataset import DataSet
from clprune.opencl import Session
from clprune.progress import OnProgress, share_of
from clprune.runner import Runner
from clprune.runner.bench import ROUNDS, measure_steps
from clprune.runner.compare import largest_error, time_in_turns, weights_kept
from clprune.workflow.agreement import accuracy_on


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model on the device: milliseconds of an inference of one image, each layer's, and accuracy.

    `largest_error` is that of any layer from the float64 reference, which multiplies all the zeros: it shows that
    skipping them on the device changes nothing.
    """

    best_ms: float
    median_ms: float
    accuracy: float
    weights_kept: float
    largest_error: float
    layer_ms: Mapping[int, float]
    layer_kept: Mapping[int, float]


def measure_models(
    session: Session, models: Sequence[Model], *, held_out: DataSet, progress: OnProgress | None = None
) -> list[Measured]:
    """Times (in turns) and accuracy of each model on the device; weights are counted against the first model's."""
    runners = [Runner(model, session=session) for model in models]
    times = time_in_turns(runners)
    sizes = [_weight_count(model.network) for model in models]
    measured = []
    for number, (model, runner, whole, size) in enumerate(zip(models, runners, times, sizes, strict=True)):
        layer_ms: dict[int, float] = {}
        layer_kept: dict[int, float] = {}
        _, steps = measure_steps(runner, rounds=ROUNDS)
        for step in steps:
            if step.layer is not None:
                layer_ms[step.layer] = layer_ms.get(step.layer, 0.0) + step.best_ms
                layer_kept[step.layer] = step.kept_share
        share = share_of(progress, number=number, count=len(models))
        measured.append(
            Measured(
                best_ms=whole.best_ms,
                median_ms=whole.median_ms,
                accuracy=accuracy_on(session, model, held_out, progress=share),
                weights_kept=weights_kept(model.network, model.weights) * size / sizes[0],
                largest_error=largest_error(session, model.network, model.weights, held_out.batch([0])),
                layer_ms=layer_ms,
                layer_kept=layer_kept,
            )
        )
    return measured


def _weight_count(network: Network) -> int:
    """Weights that the layers of a network have in the spatial domain."""
    return sum(math.prod(layer.arrays.get("weights", (0,))) for layer in network.layers)
