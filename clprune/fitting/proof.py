"""What a fitted model really takes and loses: timed in turns with the dense one, run on held-out images, verified."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clprune.container.model import Model
from clprune.dataset import DataSet
from clprune.opencl import Session
from clprune.runner import Runner
from clprune.runner.compare import largest_error, time_in_turns, weights_kept
from clprune.runner.evaluate import CHUNK_IMAGES, evaluate

ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Best milliseconds of an inference of the `dense` and the `fitted` model, in turns; shares of held-out images.

    `agreement`: those for which both have the same best class. Accuracies are None where nobody says what images show.
    `largest_error` is that of any layer of the fitted model from the float64 reference.
    """

    dense_ms: float
    fitted_ms: float
    agreement: float
    accuracy_dense: float | None
    accuracy_fitted: float | None
    weights_kept: float
    largest_error: float

    @property
    def points_lost(self) -> float:
        """Percentage points of accuracy, or of agreement where there are no labels."""
        if self.accuracy_dense is None or self.accuracy_fitted is None:
            return 100 * (1 - self.agreement)
        return 100 * (self.accuracy_dense - self.accuracy_fitted)


def times(session: Session, dense: Model, fitted: Model, *, rounds: int = ROUNDS) -> tuple[float, float]:
    """Best milliseconds of the dense and the fitted model, in turns."""
    with Runner(dense, session=session) as first, Runner(fitted, session=session) as second:
        one, other = time_in_turns([first, second], rounds=rounds)
    return one.best_ms, other.best_ms


def prove(session: Session, dense: Model, fitted: Model, held_out: DataSet) -> Proof:
    """Measure both on the device. Raises what Runner raises."""
    dense_ms, fitted_ms = times(session, dense, fitted)
    with Runner(dense, session=session) as first, Runner(fitted, session=session) as second:
        agreeing = 0
        for start in range(0, len(held_out), CHUNK_IMAGES):
            images = held_out.batch(slice(start, start + CHUNK_IMAGES))
            agreeing += int(np.count_nonzero(first(images).argmax(1) == second(images).argmax(1)))
        accuracies: list[float | None] = [None, None]
        if held_out.is_labelled:
            runs = ((first, dense), (second, fitted))
            accuracies = [evaluate(run, model.network, held_out).accuracy for run, model in runs]
    return Proof(
        dense_ms=dense_ms,
        fitted_ms=fitted_ms,
        agreement=agreeing / len(held_out),
        accuracy_dense=accuracies[0],
        accuracy_fitted=accuracies[1],
        weights_kept=weights_kept(fitted.network, fitted.weights) * _size(fitted) / _size(dense),
        largest_error=largest_error(session, fitted.network, fitted.weights, held_out.batch([0])),
    )


def _size(model: Model) -> int:
    return sum(int(np.prod(layer.weights_shape)) for layer in model.network.matrix_layers)
