"""The host's caches, as the system tells: drivers of CPUs report one level at most."""

from __future__ import annotations

import re
from pathlib import Path

_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
_SIZE = re.compile(r"([1-9]\d{0,8})K", re.ASCII)


def host_cache_bytes(folder: Path = _FOLDER) -> tuple[int, ...]:
    """Bytes of the data caches that serve the first core, the nearest first; empty where the system does not say."""
    sizes: dict[int, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except (OSError, UnicodeDecodeError):
            continue
        if kind in ("Data", "Unified") and level in ("1", "2", "3", "4") and (match := _SIZE.fullmatch(size)):
            sizes[int(level)] = int(match[1]) * 2**10
    return tuple(sizes[level] for level in sorted(sizes))
