"""Which of a step's offers runs, with which tile: the fastest that was measured, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.device import DeviceInfo
from clprune.kernels.base import Choice, Offer
from clprune.plan.steps import Alternative, Chosen, Step

#: Where a tile came from when no look-up found one.
DEFAULT_ORIGIN, SAFE_ORIGIN = "default", "safe"

#: Offer -> (tile, where it came from), or None.
TileLookup = Callable[[Offer], "tuple[Any, str] | None"]

#: Offer -> milliseconds measured with that tile on this device, or None.
TimeLookup = Callable[[Offer], "float | None"]


@dataclass(kw_only=True)
class Chooser:
    """Chooses offers and tiles for one device; among the same offers once, as all images of a batch have the same."""

    device: DeviceInfo
    lookup: TileLookup | None = None
    times: TimeLookup | None = None
    known: dict[tuple[Offer, ...], tuple[Alternative, ...]] = field(default_factory=dict)

    def chosen(self, step: Step) -> Chosen:
        """The step with what was chosen to compute it, and between what.

        Of the offers whose time was measured on this device the fastest is taken; where none was, the first.
        """
        known = self.known.get(step.offers)
        if known is None:
            known = tuple(self._alternative(offer) for offer in step.offers if self._is_possible(offer))
            self.known[step.offers] = known
        best, reason = _best(known)
        return Chosen(
            **vars(step),
            choice=best.choice,
            tile_origin=best.tile_origin,
            reason=reason,
            alternatives=known,
        )

    def _is_possible(self, offer: Offer) -> bool:
        return offer.rejection(offer.kernel.safe_tile(offer.operation), self.device) is None

    def _alternative(self, offer: Offer) -> Alternative:
        tile, origin = self._tile(offer)
        is_tuned = origin not in (DEFAULT_ORIGIN, SAFE_ORIGIN)
        time_ms = self.times(offer) if self.times is not None and is_tuned else None
        return Alternative(choice=Choice(offer=offer, tile=tile), tile_origin=origin, time_ms=time_ms)

    def _tile(self, offer: Offer) -> tuple[Any, str]:
        found = self.lookup(offer) if self.lookup else None
        if found is not None and offer.rejection(found[0], self.device) is None:
            return found
        tile = offer.kernel.default_tile(offer.operation, self.device)
        return tile, SAFE_ORIGIN if tile == offer.kernel.safe_tile(offer.operation) else DEFAULT_ORIGIN


def _best(known: Sequence[Alternative]) -> tuple[Alternative, str]:
    """What to take, and why."""
    if len(known) == 1:
        return known[0], "the only way for these weights here"
    times_ms = [item.time_ms for item in known if item.time_ms is not None]
    if not times_ms:
        return known[0], "nothing was measured: the first of the list"
    others = len(known) - len(times_ms)
    missing = f", {others} not measured" if others else ""
    best = next(item for item in known if item.time_ms == min(times_ms))
    return best, f"fastest of {len(times_ms)} measured{missing}"
