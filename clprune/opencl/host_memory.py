"""Large buffers of CPU drivers on large pages: memory of the host that the driver uses in place.

A CPU driver takes a buffer from the heap, in pages of 4 KiB. A network's weights then need more entries than the
processor's table of recent translations holds, and every miss costs a walk through the page tables, in a virtual
machine a walk within a walk. Pages of 2 MiB spare it, most of all to layers that only read weights. Most distributions
give them on request only (transparent huge pages: madvise).
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

LARGE_PAGE_BYTES = 2**21


def on_large_pages(nbytes: int) -> npt.NDArray[np.uint8] | None:
    """`nbytes` of zeros that begin at a large page, or None where they would fill none or the system has none to ask
    for. Unmapped when nothing refers to the array.
    """
    if nbytes < LARGE_PAGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        # Addresses cost nothing: pages that no byte is written to are never backed by memory.
        mapped = mmap.mmap(-1, nbytes + LARGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        mapped.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # no memory, or a kernel built without large pages: the driver may fare better
        return None
    whole = np.frombuffer(mapped, np.uint8)
    first = -whole.ctypes.data % LARGE_PAGE_BYTES
    return whole[first : first + nbytes]
