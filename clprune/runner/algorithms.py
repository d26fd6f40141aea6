"""The ways in which a layer can be computed: which kernels the planner may choose from for it.

The data decide what is possible (a layer pruned in the Winograd domain has no 3x3 filters any more), `Algorithms` what
is wanted, and measured times what is taken (`clprune.runner.choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clprune.errors import UsageError
from clprune.kernels.base import Kernel, Workload
from clprune.kernels.conv import CONV, ConvOperation
from clprune.runner.workload import WeightForm

#: By which a convolution may be computed, in the order in which they are taken where nothing has been measured.
ALGORITHMS = ("direct", "winograd", "sparse")

#: Largest error of a layer, relative to its largest result, for which the planner may leave direct convolution.
DEFAULT_MAX_ERROR = 1e-4


@dataclass(frozen=True, kw_only=True)
class Algorithms:
    """What the planner may choose from. Raises UsageError for a name that is none of ALGORITHMS, or for no name.

    `max_error`: an algorithm with a larger relative error on a layer (against float64, unit-variance data) is not
    offered for it, unless the layer's weights leave no other.
    """

    names: tuple[str, ...] = ALGORITHMS
    max_error: float = DEFAULT_MAX_ERROR

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in ALGORITHMS]
        if unknown or not self.names:
            found = f"algorithm {unknown[0]!r}" if unknown else "no algorithm"
            raise UsageError(f"{found}: expected one or more of {', '.join(ALGORITHMS)}")
        if not self.max_error > 0:
            raise UsageError(f"max_error {self.max_error}: expected a positive number such as {DEFAULT_MAX_ERROR}")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One way to compute a step. `label` names it to people; `is_likely`: a short search should not leave it out."""

    label: str
    kernel: Kernel[Any, Any]
    operation: Any
    workload: Workload
    is_likely: bool = True


def convolution_offers(operation: ConvOperation, form: WeightForm, algorithms: Algorithms) -> Sequence[Offer]:
    """Every way to compute a convolution with weights of that form, the one to take untuned first.

    Where the wanted algorithms cannot compute the layer, the direct one does.
    """
    offers = []
    if "direct" in algorithms.names:
        offers.append(direct_offer(operation, form))
    return offers or [direct_offer(operation, form)]


def direct_offer(operation: ConvOperation, form: WeightForm) -> Offer:
    """Direct convolution: possible for all weights in the spatial domain."""
    return Offer(label="direct", kernel=CONV, operation=operation, workload=form.workload)
