"""Buffers on large pages."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from clprune.opencl import open_device
from clprune.opencl.host_memory import LARGE_PAGE_BYTES, on_large_pages


def test_small_memory_is_the_drivers() -> None:
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
