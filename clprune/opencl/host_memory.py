"""Buffers of CPU drivers in memory of the host, which the driver uses in place.

What travels to such a buffer and back is copied by the host itself: a copy that a driver makes takes tens of
microseconds, however small it is, in which one thread hands it to another.

Large ones lie on large pages. In pages of 4 KiB, of which the heap is made, a network's weights need more entries than
the processor's table of recent translations holds, and every miss costs a walk through the page tables, in a virtual
machine a walk within a walk. Pages of 2 MiB spare it, most of all to layers that only read weights. Most distributions
give them on request only (transparent huge pages: madvise).
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

PAGE_BYTES, LARGE_PAGE_BYTES = 2**12, 2**21


def host_memory(nbytes: int) -> npt.NDArray[np.uint8]:
    """`nbytes`, at least a page's, of any contents that begin at a page, if possible a large one."""
    pages = on_large_pages(nbytes)
    if pages is not None:
        return pages
    size = max(nbytes, PAGE_BYTES)
    return _aligned(np.empty(size + PAGE_BYTES, np.uint8), PAGE_BYTES)[:size]


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
    return _aligned(np.frombuffer(mapped, np.uint8), LARGE_PAGE_BYTES)[:nbytes]


def _aligned(memory: npt.NDArray[np.uint8], page_bytes: int) -> npt.NDArray[np.uint8]:
    """`memory` from its first address that is a multiple of `page_bytes`."""
    return memory[-memory.ctypes.data % page_bytes :]
