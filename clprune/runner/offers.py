"""The ways in which a layer can be computed: which kernels the planner may choose from for it.

Weights decide what is possible (a layer pruned in the Winograd domain has no 3x3 filters any more), `Algorithms` what
is wanted, and measured times what is taken (`clprune.runner.choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clprune.algorithms import Algorithms
from clprune.kernels.base import Kernel, Workload
from clprune.kernels.conv import CONV, ConvOperation
from clprune.runner.workload import WeightForm


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
