"""Is the device right? Every step of a plan against the float64 reference."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.layout import view
from clprune.runner.reference import reference_outputs
from clprune.runner.runner import Runner
from clprune.tolerance import relative_tolerance


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How far one step's output lies from the reference.

    `relative_error`: largest |difference| over the largest |reference| of the tensor; infinite where a result is not
    finite. `tolerance`: what sums of `terms` products may stray by, and roundings of their factors, added up over the
    layers so far.
    """

    layer: int | None
    label: str
    relative_error: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        return self.relative_error <= self.tolerance


def verify_network(runner: Runner, weights: Weights, x: npt.NDArray[np.float32]) -> list[LayerError]:
    """Run x `[batch, C, H, W]` on the device and in float64; one entry per layer, in order.

    Errors of earlier layers travel on, so tolerances add up along the network. `runner` was made with
    `keep_tensors=True`, else UsageError.
    """
    if runner.bound.plan.memory.is_shared:
        raise UsageError("intermediate results are gone after a run: make the Runner with keep_tensors=True")
    runner(x)
    bound = runner.bound
    expected = reference_outputs(bound.plan, weights, x)
    errors: dict[tuple[int | None, str], LayerError] = {}
    tolerance = 0.0
    for bound_step in bound.steps:
        step = bound_step.step
        if not step.inputs:  # it clears padding, which is none of a tensor's values
            continue
        layout = bound.plan.layouts[step.output]
        flat = runner.session.read(bound.tensors[step.output], np.float32, layout.elements)
        error = _relative_error(view(flat, layout), expected[step.output])
        index = step.layer.index if step.layer is not None else None
        earlier = errors.get((index, step.label))
        if earlier is None:
            tolerance += relative_tolerance(step.kernel.error_terms(step.operation))
            tolerance += step.kernel.rounding_error(step.operation)
            earlier = LayerError(layer=index, label=step.label, relative_error=0.0, tolerance=tolerance)
        worst = max(earlier.relative_error, error)
        errors[index, step.label] = dataclasses.replace(earlier, relative_error=worst)
    return list(errors.values())


def _relative_error(got: npt.NDArray[np.float32], expected: npt.NDArray[np.float64]) -> float:
    if not np.all(np.isfinite(got)):
        return float("inf")
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    return float(np.abs(got - expected).max(initial=0)) / scale
