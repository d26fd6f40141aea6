"""The ways in which a layer can be computed: which kernels the planner may choose from for it.

Weights decide what is possible (a layer pruned in the Winograd domain has no 3x3 filters any more), `Algorithms` what
is wanted, and measured times what is taken (`clprune.runner.choice`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clprune.algorithms import Algorithms
from clprune.kernels.base import Kernel, Workload
from clprune.kernels.conv import CONV, ConvOperation
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.runner.workload import WeightForm


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One way to compute a step. `label` names it to people; `is_likely`: a short search should not leave it out."""

    label: str
    kernel: Kernel[Any, Any]
    operation: Any
    workload: Workload
    is_likely: bool = True


#: Kept shares of weights up to which a list of them may be faster than multiplying whole columns, and up to which
#: it is likely to be.
SPARSE_KEPT_SHARE, LIKELY_SPARSE_KEPT_SHARE = 0.5, 0.2


def convolution_offers(operation: ConvOperation, form: WeightForm, algorithms: Algorithms) -> list[Offer]:
    """Every way to compute a convolution with weights of that form, the one to take untuned first.

    Where the wanted algorithms cannot compute the layer, the direct one does.
    """
    offers = []
    if "direct" in algorithms.names:
        offers.append(_direct(operation, form))
    if "sparse" in algorithms.names and form.workload.kept_share <= SPARSE_KEPT_SHARE:
        sparse = _sparse(operation, form)
        offers.insert(0 if sparse.is_likely else len(offers), sparse)
    return offers or [_direct(operation, form)]


def _direct(operation: ConvOperation, form: WeightForm) -> Offer:
    """Direct convolution: possible for all weights in the spatial domain."""
    return Offer(label="direct", kernel=CONV, operation=operation, workload=form.workload)


def _sparse(operation: ConvOperation, form: WeightForm) -> Offer:
    """Direct sparse convolution: for single weights, of which few are left."""
    workload = form.workload
    is_likely = workload.unit_rows == 1 and workload.kept_share <= LIKELY_SPARSE_KEPT_SHARE
    return Offer(label="sparse", kernel=SPARSE_CONV, operation=operation, workload=workload, is_likely=is_likely)
