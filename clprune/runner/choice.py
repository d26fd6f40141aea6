"""Which of a step's offers runs, with which tile: the fastest that was measured, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clprune.device import DeviceInfo
from clprune.kernels.base import Kernel, Operation, Workload
from clprune.runner.offers import Offer
from clprune.runner.steps import Alternative, Step

#: Where a tile came from when no look-up found one.
DEFAULT_ORIGIN, SAFE_ORIGIN = "default", "safe"

#: (kernel, operation, workload) -> (tile, where it came from), or None.
TileLookup = Callable[[Kernel[Any, Any], Operation, Workload], "tuple[Any, str] | None"]

#: (kernel, operation, workload) -> milliseconds measured with that tile on this device, or None.
TimeLookup = Callable[[Kernel[Any, Any], Operation, Workload], "float | None"]


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """Chooses offers and tiles for one device."""

    device: DeviceInfo
    lookup: TileLookup | None = None
    times: TimeLookup | None = None

    def chosen(self, step: Step) -> Step:
        """The step with its kernel, operation, workload and tile, and what was chosen between.

        Of the offers whose time was measured on this device the fastest is taken; where none was, the first that a
        tuned tile exists for, else the first.
        """
        offers = [offer for offer in step.offers if self._is_possible(offer)]
        known = [self._alternative(offer) for offer in offers]
        best, reason = _best(known)
        offer = offers[best]
        return dataclasses.replace(
            step,
            kernel=offer.kernel,
            operation=offer.operation,
            workload=offer.workload,
            tile=known[best].tile,
            tile_origin=known[best].tile_origin,
            algorithm=offer.label,
            reason=reason,
            alternatives=tuple(known),
        )

    def _is_possible(self, offer: Offer) -> bool:
        safe = offer.kernel.safe_tile(offer.operation)
        return offer.kernel.rejection(safe, offer.operation, self.device) is None

    def _alternative(self, offer: Offer) -> Alternative:
        tile, origin = self._tile(offer)
        time_ms = None
        if self.times is not None and origin not in (DEFAULT_ORIGIN, SAFE_ORIGIN):
            time_ms = self.times(offer.kernel, offer.operation, offer.workload)
        return Alternative(label=offer.label, kernel=offer.kernel.name, tile=tile, tile_origin=origin, time_ms=time_ms)

    def _tile(self, offer: Offer) -> tuple[Any, str]:
        kernel, operation = offer.kernel, offer.operation
        found = self.lookup(kernel, operation, offer.workload) if self.lookup else None
        if found is not None and kernel.rejection(found[0], operation, self.device) is None:
            return found
        tile = kernel.default_tile(operation, self.device)
        return tile, SAFE_ORIGIN if tile == kernel.safe_tile(operation) else DEFAULT_ORIGIN


def _best(known: list[Alternative]) -> tuple[int, str]:
    """Index of what to take, and why."""
    if len(known) == 1:
        return 0, "the only way for these weights here"
    measured = [index for index, item in enumerate(known) if item.time_ms is not None]
    if not measured:
        return 0, "nothing was measured: the first of the list"
    best = min(measured, key=lambda index: known[index].time_ms or 0.0)
    others = len(known) - len(measured)
    missing = f", {others} not measured" if others else ""
    return best, f"fastest of {len(measured)} measured{missing}"
