"""The ways in which a layer can be computed: which kernels the planner may choose from for it.

Weights decide what is possible (a layer pruned in the Winograd domain has no 3x3 filters any more), `Algorithms` what
is wanted, each kernel what it offers, and measured times what is taken (`clprune.plan.chooser`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clprune.algorithms import ALGORITHMS, Algorithms
from clprune.device import DeviceInfo
from clprune.errors import UnsupportedLayerError
from clprune.kernels.base import Kernel, Offer, Rank, Request
from clprune.kernels.tile import Operation
from clprune.kernels.workload import WeightForm


def offers_for(
    operation: Operation,
    form: WeightForm,
    *,
    algorithms: Algorithms,
    device: DeviceInfo,
    kernels: Sequence[Kernel[Any, Any]],
) -> tuple[Offer, ...]:
    """Every way in which `kernels` compute `operation` with weights of that form, the one to take untuned first.

    Where the wanted algorithms cannot compute it, all others are offered. Raises UnsupportedLayerError where none can.
    """
    able = [kernel for kernel in kernels if kernel.computes is type(operation)]
    if getattr(operation, "added", ""):
        able = [kernel for kernel in able if kernel.can_add]
    largest_error, precision = algorithms.largest_error, algorithms.precision
    request = Request(operation=operation, form=form, device=device, max_error=largest_error, precision=precision)
    for names in (algorithms.names, ALGORITHMS):
        wanted = [kernel for kernel in able if kernel.algorithm in (None, *names)]
        offers = [offer for kernel in wanted for offer in kernel.offers(request)]
        if offers:
            offers.sort(key=lambda offer: offer.rank)
            if offers[0].rank < Rank.PREFERRED:
                offers = [o if o.rank < Rank.PREFERRED else replace(o, is_likely=False) for o in offers]
            return tuple(offers)
    raise UnsupportedLayerError(f"{operation.key}: no kernel computes it with such weights")
