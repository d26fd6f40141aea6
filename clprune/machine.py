"""What the machine has."""

from __future__ import annotations

import os
import sys


def memory_bytes() -> int:
    """Of all programs together; more than anything takes where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize
