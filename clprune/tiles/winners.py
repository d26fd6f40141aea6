"""Stored winners that may serve an offer, the nearest first, each read from the database when it is asked for.

Years of tuning, or the results of many machines, are a hundred thousand of them: what was tuned for exactly this
problem is sought by its key, and what was tuned for others of a kernel is looked through only where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Generic, TypeVar

import numpy as np

from clprune.device import DeviceInfo
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.workload import Workload
from clprune.tiles.distance import Neighbours, workload_distance
from clprune.tiles.records import MEASURED, OFFLINE, Best, Outline, StoredDevice
from clprune.tiles.shipped import Table
from clprune.tiles.store import Store

#: Beyond this distance (`clprune.tiles.distance`) a tuned tile says no more than the default; the same for shipped
#: tiles: other networks' layers are less alike than those of one.
FARTHEST, FARTHEST_SHIPPED = 6.0, 4.0

#: Of more than so many winners within that distance the farther ones say nothing that these do not.
MOST_NEAR = 256

#: What a winner is to an offer, the best first.
TIERS = EXACT, OTHER_DRIVER, SAME_ARCHITECTURE, SHIPPED_EXACT, NEAREST, NEAR_SHIPPED, PREDICTED = range(7)

_T = TypeVar("_T")

#: A kernel, a problem's key and a workload's.
_Wanted = tuple[Kernel[Any, Any], str, str]


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


class Winners:
    """Those in a database and in a table that comes with the library, as far as they say something of one device."""

    def __init__(self, store: Store, device: DeviceInfo, *, table: Table | None) -> None:
        self._store, self._table, self._here = store, table, StoredDevice.of(device)
        others = [other for key, other in store.devices().items() if key != self._here.device]
        self._kin = [self._here, *(other for other in others if self._kinship(other) is not None)]
        self._sources: dict[Kernel[Any, Any], _Source] = {}
        self._outlines: dict[Kernel[Any, Any], _Outlines] = {}
        self._exact: dict[_Wanted, list[Found]] = {}
        self._shipped: dict[_Wanted, list[Found]] = {}
        self._ranked: dict[_Wanted, _Remembered[Found]] = {}

    def ranked(self, offer: Offer) -> Iterable[Found]:
        """Those of the offer's kernel that may serve, nearest first; found once for each problem."""
        wanted = _wanted(offer)
        if wanted not in self._ranked:
            self._ranked[wanted] = _Remembered(self._in_order(offer))
        return self._ranked[wanted]

    def timed(self, offer: Offer) -> Iterator[Found]:
        """Those for exactly this, then this device's own for the same problem with other weights removed."""
        yield from (found for found in self.exact(offer) if found.rank[0] != PREDICTED)
        yield from (found for found in self.shipped(offer) if found.rank[0] == SHIPPED_EXACT)
        yield from self._same_problem(offer)

    def exact(self, offer: Offer) -> list[Found]:
        """Those for exactly this on this device and on devices that are like it."""
        wanted = _wanted(offer)
        if wanted not in self._exact:
            bests = self._bests(self._source(offer.kernel).devices, offer.kernel, problem=wanted[1], workload=wanted[2])
            found = (self._found(best, device, is_exact=True, distance=0.0) for best, device in bests)
            self._exact[wanted] = _by_rank(found)
        return self._exact[wanted]

    def shipped(self, offer: Offer) -> list[Found]:
        """Those of the table that are near enough."""
        wanted = _wanted(offer)
        if wanted not in self._shipped:
            rows = self._table.of(offer.kernel.name) if self._table else ()
            distances = _neighbours(rows, [best.key.problem for best in rows]).distances(wanted[1], offer.workload)
            found = []
            for best, distance in zip(rows, distances.tolist(), strict=True):
                is_exact = (best.key.problem, best.key.workload) == wanted[1:]
                rank = (SHIPPED_EXACT, 0, 0.0) if is_exact else (NEAR_SHIPPED, 0, distance)
                if rank[2] <= FARTHEST_SHIPPED:
                    found.append(Found(best=best, device=self._here, rank=rank))
            self._shipped[wanted] = _by_rank(found)
        return self._shipped[wanted]

    def _in_order(self, offer: Offer) -> Iterator[Found]:
        exact, shipped = self.exact(offer), self.shipped(offer)
        yield from (found for found in exact if found.rank[0] != PREDICTED)
        yield from (found for found in shipped if found.rank[0] == SHIPPED_EXACT)
        yield from self._near(offer, are_predicted=False)
        yield from (found for found in shipped if found.rank[0] == NEAR_SHIPPED)
        yield from (found for found in exact if found.rank[0] == PREDICTED)
        yield from self._near(offer, are_predicted=True)

    def _same_problem(self, offer: Offer) -> list[Found]:
        found = []
        for best, device in self._bests([self._here], offer.kernel, problem=offer.operation.key):
            if best.key.workload != offer.workload.key and best.origin == MEASURED:
                left = Workload(kept_share=best.kept_share, unit_rows=best.unit_rows)
                distance = workload_distance(offer.workload, left)
                found.append(self._found(best, device, is_exact=False, distance=distance))
        return _by_rank(found)

    def _near(self, offer: Offer, *, are_predicted: bool) -> Iterator[Found]:
        """Those for other problems or with other weights removed."""
        kernel = offer.kernel
        if kernel not in self._outlines:
            self._outlines[kernel] = self._read_outlines(kernel)
        for outline, device, distance in self._outlines[kernel].near(offer, are_predicted=are_predicted):
            for best, _ in self._bests([device], kernel, problem=outline.problem, workload=outline.workload):
                found = self._found(best, device, is_exact=False, distance=distance)
                yield from () if found is None else (found,)

    def _bests(
        self, devices: Sequence[StoredDevice], kernel: Kernel[Any, Any], **wanted: str
    ) -> Iterator[tuple[Best, StoredDevice]]:
        """What the database has of today's kernel on each of `devices`."""
        source = self._source(kernel)
        of_kernel = {"kernel": kernel.name, "source_hash": source.hash}
        for device in devices if source.devices else ():
            for best in self._store.all_best(device=device.device, **of_kernel, **wanted):
                yield best, device

    def _found(self, best: Best, device: StoredDevice, *, is_exact: bool, distance: float) -> Found | None:
        """It, unless it says nothing of this device."""
        kinship = self._kinship(device, best.origin)
        if kinship is None:
            return None
        tier = (EXACT, OTHER_DRIVER, SAME_ARCHITECTURE)[kinship] if is_exact else NEAREST
        return Found(best=best, device=device, rank=(PREDICTED if best.origin == OFFLINE else tier, kinship, distance))

    def _kinship(self, other: StoredDevice, origin: str | None = None) -> int | None:
        """0: this device and driver, 1: another driver, 2: same vendor and architecture, of a prediction same
        architecture alone; None: unrelated. Of no origin, the nearest that results of any can be.
        """
        if other.device == self._here.device:
            return 0
        if origin != OFFLINE and self._here.is_same_device(other):
            return 1
        is_alike = origin != OFFLINE and self._here.is_same_architecture(other)
        is_predictable = origin in (OFFLINE, None) and other.architecture == self._here.architecture
        return 2 if is_alike or is_predictable else None

    def _source(self, kernel: Kernel[Any, Any]) -> _Source:
        """Which devices have winners of a kernel. Its source is hashed only where there are some."""
        if kernel not in self._sources:
            devices = [device for device in self._kin if self._store.has_winner(device.device, kernel.name)]
            self._sources[kernel] = _Source(hash=kernel.source_hash() if devices else "", devices=devices)
        return self._sources[kernel]

    def _read_outlines(self, kernel: Kernel[Any, Any]) -> _Outlines:
        source, rows, kinships = self._source(kernel), [], []
        for device in source.devices:
            for outline in self._store.outlines(device.device, kernel.name, source.hash):
                kinship = self._kinship(device, outline.origin)
                if kinship is not None:
                    rows.append((outline, device))
                    kinships.append(kinship)
        return _Outlines(rows, kinships)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The hash of a kernel's source, and the devices that have winners of the kernel."""

    hash: str
    devices: Sequence[StoredDevice]


class _Outlines:
    """All winners of a kernel on this device and those that are like it, in outline."""

    def __init__(self, rows: Sequence[tuple[Outline, StoredDevice]], kinships: Sequence[int]) -> None:
        outlines = [outline for outline, _ in rows]
        self._rows, self._kinships = rows, np.asarray(kinships, np.intp)
        self._neighbours = _neighbours(outlines, [outline.problem for outline in outlines])
        self._ages = np.asarray([outline.rowid for outline in outlines], np.int64)
        self._are_predicted = np.asarray([outline.origin == OFFLINE for outline in outlines], bool)

    def near(self, offer: Offer, *, are_predicted: bool) -> Iterator[tuple[Outline, StoredDevice, float]]:
        """With their distances, those that are not for exactly this: the nearest kin first, of these the nearest."""
        problem, workload = _wanted(offer)[1:]
        distances = self._neighbours.distances(problem, offer.workload)
        order = np.lexsort((self._ages, distances, self._kinships))
        serves = (distances <= FARTHEST) & (self._are_predicted == are_predicted)
        for number in order[serves[order]][:MOST_NEAR]:
            outline, device = self._rows[number]
            if (outline.problem, outline.workload) != (problem, workload):
                yield outline, device, float(distances[number])


class _Remembered(Generic[_T]):
    """What an iterator gives, as often as it is asked for; taken from it only as far as somebody has asked."""

    def __init__(self, items: Iterator[_T]) -> None:
        self._rest = items
        self._taken: list[_T] = []

    def __iter__(self) -> Iterator[_T]:
        for number in count():
            if number == len(self._taken):
                self._taken.extend(islice(self._rest, 1))
            if number == len(self._taken):
                return
            yield self._taken[number]


def _wanted(offer: Offer) -> _Wanted:
    return offer.kernel, offer.operation.key, offer.workload.key


def _neighbours(rows: Sequence[Outline | Best], problems: Sequence[str]) -> Neighbours:
    return Neighbours(problems, kept_shares=[row.kept_share for row in rows], units=[row.unit_rows for row in rows])


def _by_rank(found: Iterable[Found | None]) -> list[Found]:
    return sorted((item for item in found if item is not None), key=lambda item: item.rank)
