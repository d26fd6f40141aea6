"""Which tile a planner should use: the one tuned for exactly this, else the one tuned for the nearest thing.

In this order, and every answer says which it was:

1. tuned for this device, driver, problem and sparsity: "tuned"
2. the same on another version of the driver: "tuned, driver X"
3. the same on a device of the same vendor and architecture: "tuned on NAME"
4. shipped with clprune for devices of this class: "shipped"
5. tuned for the nearest shape or sparsity on this device, then on those of 2 and 3: "tuned for PROBLEM"
6. shipped for the nearest: "shipped for PROBLEM"
7. predicted for this architecture without a device: "offline, ARCHITECTURE"

The planner's own answer, the device type's default or the kernel's safe tile, comes last. A tile that breaks one of
the kernel's constraints here is passed over. So is one from elsewhere (another driver or device, a file, a table, a
prediction) that gives wrong answers on a small problem: the outcome of that test is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clprune.device import DeviceInfo
from clprune.errors import LaunchError
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.workload import Workload
from clprune.tiles.distance import problem_work
from clprune.tiles.records import MEASURED, SHIPPED, Best, is_imported, tile_from, tile_text
from clprune.tiles.shipped import NO_TILE, shipped_tile, table_for
from clprune.tiles.store import Store
from clprune.tiles.winners import NEAR_SHIPPED, NEAREST, PREDICTED, SHIPPED_EXACT, Found, Winners

if TYPE_CHECKING:
    from clprune.opencl import Session

#: Times for kept shares that differ by no more than this share say something of each other.
NEAR_KEPT_SHARE = 0.25

#: Times of shipped tiles for shapes and sparsities farther than this say nothing of which kernel is faster.
FARTHEST_ESTIMATE = 3.0


class Lookup:
    """Callable as the planner wants it: offer -> (tile, where it came from), or None."""

    def __init__(
        self, store: Store, device: DeviceInfo, *, session: Session | None = None, has_shipped: bool = True
    ) -> None:
        """Without `has_shipped`, as if no tiles came with the library."""
        self._store, self._info, self._session = store, device, session
        self._winners = Winners(store, device, table=table_for(device) if has_shipped else None)
        self._not_run: set[tuple[str, Any]] = set()

    def __call__(self, offer: Offer) -> tuple[Any, str] | None:
        for found in self._winners.ranked(offer):
            if found.best.origin == SHIPPED and found.best.tile == NO_TILE:
                return None
            tile = self._tile(found, offer)
            if tile is None:
                continue
            if found.needs_check and not self._is_right(offer.kernel, tile):
                continue
            return tile, self._origin(found)
        return None

    def time_ms(self, offer: Offer) -> float | None:
        """Milliseconds measured with this device's own winner, or None, also where another tile comes before it.

        That of a shortened layer is stretched by the work left out. A winner for nearly as many weights counts in
        proportion to them: between kernels that differ by more than that, the nearest sparsity decides rightly.
        """
        operation, workload = offer.operation, offer.workload
        for found in self._winners.timed(offer):
            best = found.best
            is_own = found.rank[1] == 0 and best.origin == MEASURED and best.key.problem == operation.key
            is_usable = best.time_ms is not None and _is_near(best, workload) and self._tile(found, offer) is not None
            if found.rank[0] < NEAREST and not is_own and self._tile(found, offer) is not None:
                return None  # this tile is used, whose time nobody measured here
            if is_own and is_usable and best.kept_share > 0:
                measured = (
                    offer.kernel.shortened(operation, workload, self._info) if best.measured_problem else operation
                )
                stretch = operation.flops / measured.flops * workload.kept_share / best.kept_share
                return float(best.time_ms * stretch)
        return None

    def estimate_ms(self, offer: Offer) -> float | None:
        """Milliseconds that a device of this class would take with the shipped tile for the same or a near problem, in
        proportion to the work, or None: to choose among kernels where nothing was measured here.
        """
        for found in self._winners.shipped(offer):
            best = found.best
            is_near = found.rank[2] <= FARTHEST_ESTIMATE and best.kept_share > 0  # nothing is in proportion to no work
            if is_near and best.time_ms is not None and self._tile(found, offer) is not None:
                work = problem_work(offer.operation.key) / problem_work(best.measured_problem or best.key.problem)
                return float(best.time_ms * work * offer.workload.kept_share / best.kept_share)
        return None

    def _tile(self, found: Found, offer: Offer) -> Any | None:
        """Its tile, where that can run the offer here."""
        if found.best.origin == SHIPPED:
            tile = shipped_tile(offer, self._info, found.best.tile)
        else:
            tile = tile_from(offer.kernel, found.best.tile)
        return tile if tile is not None and offer.rejection(tile, self._info) is None else None

    def _is_right(self, kernel: Kernel[Any, Any], tile: Any) -> bool:
        """The kept outcome of the test, or that of making it now; without an open device, trust until it is.

        What could not be run is not used, but tried again by the next look-up.
        """
        known = self._store.is_right(self._info, kernel, tile)
        if known is not None or self._session is None:
            return known is not False
        if (kernel.name, tile) in self._not_run:
            return False
        from clprune.candidate import gives_right_answers
        from clprune.opencl import binary_cache

        # What runs without a database remembers all the same, where it keeps built kernels.
        note = binary_cache.entry_path(self._info, f"check {kernel.name} {kernel.source_hash()}", (tile_text(tile),))
        kept = {b"0": False, b"1": True}.get(binary_cache.load(note) or b"")
        try:
            is_right = gives_right_answers(self._session, kernel, tile) if kept is None else kept
        except LaunchError:
            self._not_run.add((kernel.name, tile))
            return False
        if kept is None:
            binary_cache.store(note, str(int(is_right)).encode())
        self._store.set_right(self._info, kernel, tile, is_right=is_right)
        return is_right

    def _origin(self, found: Found) -> str:
        tier, kinship, distance = found.rank
        if tier == PREDICTED:
            return f"offline, {found.device.architecture}" + (f" for {_brief(found.best)}" if distance else "")
        if tier in (SHIPPED_EXACT, NEAR_SHIPPED):
            return SHIPPED + (f" for {_brief(found.best)}" if tier == NEAR_SHIPPED else "")
        words = f"tuned ({found.best.origin})" if is_imported(found.best.origin) else "tuned"
        if kinship:
            words += f", driver {found.device.driver_version}" if kinship == 1 else f" on {found.device.name}"
        return words + (f" for {_brief(found.best)}" if tier == NEAREST else "")


def _is_near(best: Best, workload: Workload) -> bool:
    """Whether the winner ran with nearly as many weights, in units of as many rows."""
    is_same_unit = best.unit_rows == workload.unit_rows or (workload.is_dense and best.key.workload == workload.key)
    return is_same_unit and abs(best.kept_share - workload.kept_share) <= NEAR_KEPT_SHARE * workload.kept_share


def _brief(best: Best) -> str:
    """The problem and sparsity, without the fields that hardly ever differ."""
    words = [word for word in best.key.problem.split() if word not in ("stride1", "groups1")]
    return " ".join((*words, best.key.workload))
