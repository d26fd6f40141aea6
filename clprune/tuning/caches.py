"""Caches as a network leaves them: a layer finds its input there, and neither its weights nor the place of its output.

A kernel that is run again and again finds everything in the last level of cache, and the tile that is fastest then may
be far from it in a network, whose layers drive each other's weights out: most of all in layers that mostly write, as
VGG16's first convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from clprune.bandwidth import Reader, Reading
from clprune.device import DeviceInfo
from clprune.opencl import BoundKernel, Buffer, Session

#: More than the last level of cache of most devices.
EVICTED_BYTES = 2**26

#: No more of a device's memory than one part in so many: an embedded GPU has small caches, and needs the rest.
_MEMORY_PARTS = 16


def evicted_bytes(device: DeviceInfo) -> int:
    """Bytes that are read to drive everything else out of the caches of `device`."""
    return min(EVICTED_BYTES, device.max_alloc_bytes, device.global_mem_bytes // _MEMORY_PARTS)


class Caches:
    """Launches that prepare a device's caches for one run of a layer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader: Reader | None = None
        self._everything: Reading | None = None

    def launches(self, warm: Sequence[Buffer]) -> list[BoundKernel]:
        """What drives everything out and brings `warm` in, the last of them last. Raises BuildError, LaunchError.

        None for simulators and renderers: they have no caches worth the time.
        """
        if self._session.info.is_software:
            return []
        if self._reader is None or self._everything is None:
            self._reader = Reader(self._session)
            self._everything = self._reader.reading(self._session.zeros(evicted_bytes(self._session.info)))
        return [self._everything.run, *(self._reader.reading(buffer).run for buffer in warm)]
