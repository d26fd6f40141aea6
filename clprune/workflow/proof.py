"""What a fitted model really takes and loses: timed in turns with the dense one, run on held-out images, verified."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clprune.container.model import Model
from clprune.dataset import DataSet
from clprune.opencl import Session
from clprune.runner import Runner
from clprune.runner.compare import largest_error, time_in_turns, weights_kept
from clprune.workflow.agreement import accuracy_on, with_own_answers

#: Rounds of timing, at least, and milliseconds that they take in all where a network is fast: a machine that others
#: use is seldom quiet for 30 runs of one of them.
ROUNDS, MEASURED_MS = 30, 1500.0


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Best milliseconds of an inference of the `dense` and the `fitted` model, in turns; shares of held-out images.

    `agreement`: of the fitted model with what the dense one answers, of detectors the mean average precision with its
    objects as the truth. Accuracies are None where nobody says what images show. `largest_error` is that of any layer
    of the fitted model from the float64 reference.
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


def times(session: Session, dense: Model, fitted: Model) -> tuple[float, float]:
    """Best milliseconds of the dense and the fitted model, in turns."""
    with Runner(dense, session=session) as first, Runner(fitted, session=session) as second:
        quick_ms = sum(series.best_ms for series in time_in_turns([first, second], rounds=1))
        rounds = max(ROUNDS, int(MEASURED_MS / (2 * quick_ms)))
        one, other = time_in_turns([first, second], rounds=rounds)
    return one.best_ms, other.best_ms


def agreement(session: Session, dense: Model, fitted: Model, images: DataSet) -> float:
    """How far `fitted` answers what `dense` does, 0 to 1, whatever the labels say. Raises UsageError."""
    plain = DataSet.unlabelled(name=images.name, images=images.images)
    return accuracy_on(session, fitted, with_own_answers(session, dense, plain))


def prove(session: Session, dense: Model, fitted: Model, held_out: DataSet) -> Proof:
    """Measure both on the device. Raises what Runner raises, and UsageError for pictures that say nothing."""
    dense_ms, fitted_ms = times(session, dense, fitted)
    accuracies = [accuracy_on(session, model, held_out) if held_out.is_labelled else None for model in (dense, fitted)]
    return Proof(
        dense_ms=dense_ms,
        fitted_ms=fitted_ms,
        agreement=agreement(session, dense, fitted, held_out),
        accuracy_dense=accuracies[0],
        accuracy_fitted=accuracies[1],
        weights_kept=weights_kept(fitted.network, fitted.weights) * _size(fitted) / _size(dense),
        largest_error=largest_error(session, fitted.network, fitted.weights, held_out.batch([0])),
    )


def _size(model: Model) -> int:
    return sum(math.prod(layer.weights_shape) for layer in model.network.matrix_layers)
