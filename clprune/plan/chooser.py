"""Which of a step's offers runs, with which tile: the fastest that was measured, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clprune.device import DeviceInfo
from clprune.kernels.base import Choice, Offer
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.workload import Workload
from clprune.plan.steps import Alternative, Chosen, Step

#: Where a tile came from when no look-up found one.
DEFAULT_ORIGIN, SAFE_ORIGIN = "default", "safe"

#: What skipping costs, as a factor of the time of what is left; columns among which shares are told apart.
_SKIPPING_COST, _COLUMNS = 2.0, 1000

#: A tile that skips no less than this of what another does is taken if it is known to be fast for dense weights.
_NEARLY_ALL = 0.8

#: Offer -> (tile, where it came from), or None.
TileLookup = Callable[[Offer], "tuple[Any, str] | None"]

#: Offer -> milliseconds measured with that tile on this device, or None.
TimeLookup = Callable[[Offer], "float | None"]


@dataclass(kw_only=True)
class Chooser:
    """Chooses offers and tiles for one device; among the same offers once, as all images of a batch have the same.

    `times` are milliseconds measured on the device, `estimates` those of others that are like it.
    """

    device: DeviceInfo
    lookup: TileLookup | None = None
    times: TimeLookup | None = None
    estimates: TimeLookup | None = None
    known: dict[tuple[Offer, ...], _Chosen] = field(default_factory=dict)

    def chosen(self, step: Step) -> Chosen:
        """The step with what was chosen to compute it, and between what.

        Of the offers whose time was measured on this device the fastest is taken; where none was, the one that is
        estimated to be; where nothing is known, the first.
        """
        known = self.known.get(step.offers)
        if known is None:
            known = self.known[step.offers] = self._choose(step.offers)
        return Chosen(**vars(step), **vars(known))

    def _choose(self, offers: Sequence[Offer]) -> _Chosen:
        possible = [offer for offer in offers if self._is_possible(offer)]
        times_ms = {offer: None if self.times is None else self.times(offer) for offer in possible}
        best, reason = self._best(times_ms)
        best, reason = self._skipping(best, reason, times_ms)
        tile, origin = self._tile(best)
        return _Chosen(
            choice=Choice(offer=best, tile=tile),
            tile_origin=origin,
            reason=reason,
            alternatives=tuple(Alternative(offer=offer, time_ms=times_ms[offer]) for offer in possible),
        )

    def _best(self, times_ms: Mapping[Offer, float | None]) -> tuple[Offer, str]:
        """What to take, and why."""
        first = next(iter(times_ms))
        if len(times_ms) == 1:
            return first, "the only way for these weights here"
        best, count = _fastest(times_ms)
        if best is not None:
            others = len(times_ms) - count
            return best, f"fastest of {count} measured" + (f", {others} not measured" if others else "")
        estimates = {offer: None if self.estimates is None else self.estimates(offer) for offer in times_ms}
        best, count = _fastest(estimates)
        if best is not None and estimates[first] is not None:  # else nothing says that it is faster than the first
            return best, f"nothing was measured: the fastest of {count} on devices like this one"
        return first, "nothing was measured: the first of the list"

    def _skipping(self, best: Offer, reason: str, times_ms: Mapping[Offer, float | None]) -> tuple[Offer, str]:
        """Of pruned weights, what was not measured but must be faster than the measured `best`, by its dense time."""
        time_ms = times_ms[best]
        expected = {offer: self._expected_ms(offer) for offer, measured in times_ms.items() if measured is None}
        faster, count = _fastest(expected)
        if faster is None:
            return best, reason
        if time_ms is None:
            return faster, f"not measured: the fastest of {count} measured with dense weights, of which it skips some"
        if not (expected[faster] or 0.0) < time_ms:
            return best, reason
        return faster, f"not measured, but expected to be faster than all {_fastest(times_ms)[1]} measured: it skips"

    def _expected_ms(self, offer: Offer) -> float | None:
        """At most so long as it takes for what it multiplies of dense weights, and again as long, but never longer than
        for all of them.
        """
        dense_ms = self._dense_ms(offer)
        if dense_ms is None or not isinstance(offer.kernel, MatrixKernel):
            return None
        share = max(offer.kernel.least_share, self._multiplied(offer, self._tile(offer)[0]))
        return min(_SKIPPING_COST * share, 1.0) * dense_ms

    def _dense_ms(self, offer: Offer) -> float | None:
        """Milliseconds that were measured on this device where nothing is removed from the weights."""
        if offer.workload.is_dense or self.times is None or not isinstance(offer.kernel, MatrixKernel):
            return None
        return self.times(_dense(offer))

    def _multiplied(self, offer: Offer, tile: Any) -> float:
        """The share of columns that a tile multiplies, 0 to 1."""
        rows = offer.kernel.wavefront_rows(tile) if isinstance(offer.kernel, MatrixKernel) else 1
        return offer.workload.kept_columns(_COLUMNS, tile_m=rows) / _COLUMNS

    def _is_possible(self, offer: Offer) -> bool:
        return offer.rejection(offer.kernel.safe_tile(offer.operation), self.device) is None

    def _tile(self, offer: Offer) -> tuple[Any, str]:
        """What was found for it. Where that was measured for other weights alone, the fastest tile of dense ones, if it
        skips nearly as much: with that, pruned weights never take longer than dense ones.
        """
        found = self._found(offer)
        if self._dense_ms(offer) is not None and self.times is not None and self.times(offer) is None:
            dense = self._found(_dense(offer))
            if dense is not None and (
                found is None
                or 1 - self._multiplied(offer, dense[0]) >= _NEARLY_ALL * (1 - self._multiplied(offer, found[0]))
            ):
                return dense[0], f"{dense[1]} for dense weights"
        if found is not None:
            return found
        tile = offer.default_tile(self.device)
        return tile, SAFE_ORIGIN if tile == offer.kernel.safe_tile(offer.operation) else DEFAULT_ORIGIN

    def _found(self, offer: Offer) -> tuple[Any, str] | None:
        """What the look-up knows that can run it here."""
        found = self.lookup(offer) if self.lookup else None
        return found if found is not None and offer.rejection(found[0], self.device) is None else None


def _dense(offer: Offer) -> Offer:
    return replace(offer, workload=Workload())


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What `Chosen` adds to a step."""

    choice: Choice
    tile_origin: str
    reason: str
    alternatives: tuple[Alternative, ...]


def _fastest(times_ms: Mapping[Offer, float | None]) -> tuple[Offer | None, int]:
    """The offer with the least time, the first of several, and how many have one."""
    timed = {offer: time_ms for offer, time_ms in times_ms.items() if time_ms is not None}
    return min(timed, key=timed.__getitem__, default=None), len(timed)
