"""Which tile a planner should use: the one tuned for exactly this, else the one tuned for the nearest thing.

In this order, and every answer says which it was:

1. tuned for this device, driver, problem and sparsity: "tuned"
2. the same on another version of the driver: "tuned, driver X"
3. the same on a device of the same vendor and architecture: "tuned on NAME"
4. tuned for the nearest shape or sparsity on this device, then on those of 2 and 3: "tuned for PROBLEM"
5. predicted for this architecture without a device: "offline, ARCHITECTURE"

The planner's own answer, the device type's default or the kernel's safe tile, comes last. A tile that breaks one of
the kernel's constraints here is passed over. So is one from elsewhere (another driver or device, a file, a
prediction) that gives wrong answers on a small problem: the outcome of that test is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clprune.device import DeviceInfo
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.workload import Workload
from clprune.tiles.distance import shape_distance, workload_distance
from clprune.tiles.records import MEASURED, OFFLINE, Best, Key, StoredDevice, is_imported, result_key, tile_from
from clprune.tiles.store import Store

if TYPE_CHECKING:
    from clprune.opencl import Session

#: Beyond this distance (`clprune.tiles.distance`) a tuned tile says no more than the default.
FARTHEST = 6.0

#: Times for kept shares that differ by no more than this share say something of each other.
NEAR_KEPT_SHARE = 0.25

_EXACT, _OTHER_DRIVER, _SAME_ARCHITECTURE, _NEAREST, _OFFLINE, _UNRELATED = range(6)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A stored winner and how near it is: `(tier, kinship, distance)`, smaller is nearer."""

    best: Best
    device: StoredDevice
    rank: tuple[int, int, float]

    @property
    def needs_check(self) -> bool:
        """Anything but what was measured here, on this device and driver, which verified it."""
        return self.rank[1] != 0 or self.best.origin != MEASURED


class Lookup:
    """Callable as the planner wants it: offer -> (tile, where it came from), or None."""

    def __init__(self, store: Store, device: DeviceInfo, *, session: Session | None = None) -> None:
        self._store, self._info, self._session = store, device, session
        self._device = StoredDevice.of(device)
        self._devices = store.devices()
        self._winners: dict[tuple[str, str], list[Best]] = {}
        self._ranked: dict[Key, list[Found]] = {}

    def __call__(self, offer: Offer) -> tuple[Any, str] | None:
        for found in self.ranked(offer):
            tile = tile_from(offer.kernel, found.best.tile)
            if tile is None or offer.rejection(tile, self._info) is not None:
                continue
            if found.needs_check and not self._is_right(offer.kernel, tile):
                continue
            return tile, self._origin(found)
        return None

    def time_ms(self, offer: Offer) -> float | None:
        """Milliseconds measured with this device's own winner, or None.

        That of a shortened layer is stretched by the work left out. A winner for nearly as many weights counts in
        proportion to them: between kernels that differ by more than that, the nearest sparsity decides rightly.
        """
        operation, workload = offer.operation, offer.workload
        for found in self.ranked(offer):
            best = found.best
            is_own = found.rank[1] == 0 and best.origin == MEASURED and best.key.problem == operation.key
            if is_own and best.time_ms is not None and _is_near(best, workload):
                measured = (
                    offer.kernel.shortened(operation, workload, self._info) if best.measured_problem else operation
                )
                stretch = operation.flops / measured.flops * workload.kept_share / best.kept_share
                return float(best.time_ms * stretch)
        return None

    def ranked(self, offer: Offer) -> list[Found]:
        """Stored winners of the offer's kernel that may serve, nearest first; found once for each problem."""
        wanted = result_key(self._info, offer)
        if wanted not in self._ranked:
            found = [self._rank(best, wanted, offer.workload) for best in self._of(offer.kernel)]
            near = (item for item in found if item.rank[0] < _UNRELATED)
            self._ranked[wanted] = sorted(near, key=lambda item: item.rank)
        return self._ranked[wanted]

    def _of(self, kernel: Kernel[Any, Any]) -> Sequence[Best]:
        """The kernel's winners, read once: a plan asks for each of its layers."""
        name, source_hash = kernel.name, kernel.source_hash()
        if (name, source_hash) not in self._winners:
            rows = self._store.all_best(kernel=name)
            self._winners[name, source_hash] = [best for best in rows if best.key.source_hash == source_hash]
        return self._winners[name, source_hash]

    def _rank(self, best: Best, wanted: Key, workload: Workload) -> Found:
        device = self._devices.get(best.key.device, self._device)
        kinship = self._kinship(best)
        is_exact = (best.key.problem, best.key.workload) == (wanted.problem, wanted.workload)
        distance = 0.0 if is_exact else _distance(best, wanted.problem, workload)
        if kinship is None or distance > FARTHEST:
            tier = _UNRELATED
        elif best.origin == OFFLINE:
            tier = _OFFLINE
        elif is_exact:
            tier = (_EXACT, _OTHER_DRIVER, _SAME_ARCHITECTURE)[kinship]
        else:
            tier = _NEAREST
        return Found(best=best, device=device, rank=(tier, kinship or 0, distance))

    def _kinship(self, best: Best) -> int | None:
        """0: this device and driver, 1: another driver, 2: same vendor and architecture; None: unrelated."""
        if best.key.device == self._device.device:
            return 0
        other = self._devices.get(best.key.device)
        if other is None:
            return None
        if best.origin == OFFLINE:
            return 2 if other.architecture == self._device.architecture else None
        if self._device.is_same_device(other):
            return 1
        return 2 if self._device.is_same_architecture(other) else None

    def _is_right(self, kernel: Kernel[Any, Any], tile: Any) -> bool:
        """The kept outcome of the test, or that of making it now; without an open device, trust until it is."""
        known = self._store.is_right(self._info, kernel, tile)
        if known is not None or self._session is None:
            return known is not False
        from clprune.candidate import gives_right_answers

        is_right = gives_right_answers(self._session, kernel, tile)
        self._store.set_right(self._info, kernel, tile, is_right=is_right)
        return is_right

    def _origin(self, found: Found) -> str:
        tier, kinship, distance = found.rank
        if tier == _OFFLINE:
            return f"offline, {found.device.architecture}" + (f" for {_brief(found.best)}" if distance else "")
        words = f"tuned ({found.best.origin})" if is_imported(found.best.origin) else "tuned"
        if kinship:
            words += f", driver {found.device.driver_version}" if kinship == 1 else f" on {found.device.name}"
        return words + (f" for {_brief(found.best)}" if tier == _NEAREST else "")


def _is_near(best: Best, workload: Workload) -> bool:
    """Whether the winner ran with nearly as many weights, in units of as many rows."""
    is_same_unit = best.unit_rows == workload.unit_rows or (workload.is_dense and best.key.workload == workload.key)
    return is_same_unit and abs(best.kept_share - workload.kept_share) <= NEAR_KEPT_SHARE * workload.kept_share


def _distance(best: Best, problem: str, workload: Workload) -> float:
    found = Workload(kept_share=best.kept_share, unit_rows=best.unit_rows)
    return shape_distance(best.key.problem, problem) + workload_distance(workload, found)


def _brief(best: Best) -> str:
    """The problem and sparsity, without the fields that hardly ever differ."""
    words = [word for word in best.key.problem.split() if word not in ("stride1", "groups1")]
    return " ".join((*words, best.key.workload))
