"""Buffers in the host's memory, large ones on large pages."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pyopencl as cl
import pytest

from clprune import quirks
from clprune.opencl import open_device, session
from clprune.opencl.host_memory import LARGE_PAGE_BYTES, PAGE_BYTES, host_memory, on_large_pages


@pytest.mark.parametrize("nbytes", [0, 1, PAGE_BYTES + 1, LARGE_PAGE_BYTES - 1, LARGE_PAGE_BYTES + 1])
def test_memory_begins_at_a_page(nbytes: int) -> None:
    memory = host_memory(nbytes)
    assert memory.nbytes == max(nbytes, PAGE_BYTES)
    assert memory.ctypes.data % PAGE_BYTES == 0
    memory[:] = 1


def test_small_memory_is_not_on_large_pages() -> None:
    assert on_large_pages(LARGE_PAGE_BYTES - 1) is None


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="the system has no large pages to ask for")
@pytest.mark.parametrize("nbytes", [LARGE_PAGE_BYTES, 3 * LARGE_PAGE_BYTES + 5])
def test_large_memory_begins_at_a_large_page(nbytes: int) -> None:
    pages = on_large_pages(nbytes)
    assert pages is not None
    assert (pages.nbytes, pages.ctypes.data % LARGE_PAGE_BYTES, int(pages.max())) == (nbytes, 0, 0)
    pages[-1] = 1


def test_system_without_large_pages_leaves_it_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert on_large_pages(LARGE_PAGE_BYTES) is None


def test_contents_of_large_buffers() -> None:
    values = np.random.default_rng(0).random(LARGE_PAGE_BYTES // 4 + 3, np.float32)
    with open_device() as session:
        buffer = session.buffer_from(values)
        session.fill_zeros(other := session.buffer_from(values))
        np.testing.assert_array_equal(session.read(buffer, np.float32, values.shape), values)
        assert not session.read(other, np.float32, values.shape).any()


def test_large_buffers_outlive_what_was_enqueued_on_them() -> None:
    with open_device() as session:
        for _ in range(8):
            session.zeros(32 * LARGE_PAGE_BYTES)  # dropped at once, while the driver still fills it
        kept = session.zeros(LARGE_PAGE_BYTES)
        assert not session.read(kept, np.uint8, kept.nbytes).any()


@pytest.mark.parametrize("nbytes", [0, 1, 5, PAGE_BYTES])
def test_contents_of_small_buffers(nbytes: int) -> None:
    values = np.random.default_rng(0).integers(0, 255, nbytes, np.uint8)
    with open_device() as opened:
        buffer = opened.buffer_from(values)
        np.testing.assert_array_equal(opened.read(buffer, np.uint8, nbytes), values)
        assert (buffer.host is None) != quirks.uses_host_memory(opened.info)


def test_a_driver_that_copies_the_hosts_memory_is_asked_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is known: what one side writes the other must find."""
    real = cl.Buffer

    def copying(context: cl.Context, flags: int, **options: Any) -> cl.Buffer:
        if "hostbuf" in options:
            flags = (flags & ~cl.mem_flags.USE_HOST_PTR) | cl.mem_flags.COPY_HOST_PTR
        return real(context, flags, **options)

    monkeypatch.setattr(session.cl, "Buffer", copying)
    values = np.arange(2000, dtype=np.float32)
    with open_device() as opened:
        buffer = opened.buffer_from(values)
        assert buffer.host is None
        np.testing.assert_array_equal(opened.read(buffer, np.float32, values.shape), values)
