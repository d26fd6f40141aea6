"""How sparsity grows over the steps of a run that prunes a little, retrains, and goes on."""

from __future__ import annotations

from clprune.errors import UsageError
from clprune.pruning.unit import check_sparsity

#: No network has so many epochs to retrain after each.
MOST_STEPS = 10_000


def sparsity_steps(sparsity: float, *, steps: int) -> tuple[float, ...]:
    """The sparsity after each step, rising to `sparsity`: much at first, little at the end.

    The cubic schedule of Zhu & Gupta 2017 (arXiv 1710.01878). Raises UsageError for a sparsity outside [0, 1), less
    than one step, or more than 10,000.
    """
    check_sparsity(sparsity)
    if not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"{steps} pruning steps: expected 1 to {MOST_STEPS}")
    earlier = tuple(sparsity * (1 - (1 - step / steps) ** 3) for step in range(1, steps))
    return (*earlier, sparsity)
