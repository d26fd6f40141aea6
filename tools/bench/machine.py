"""What a report says of the machine and the software on it: enough to judge a figure, nothing that names its owner."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clprune.device import DeviceInfo

#: Parts of a processor's feature names that bear on the speed of float32 arithmetic.
_FEATURES = ("sse4_2", "fma", "f16c", "avx", "amx", "asimd", "sve", "neon")


def circumstances(packages: Iterable[str]) -> dict[str, Any]:
    """The part of a section of results that says when it was measured, on what, and with which `packages`.

    `tools.bench.report.machine_text` shows it.
    """
    return {"date": today(), "machine": this_machine(), "versions": package_versions(packages)}


def this_machine() -> dict[str, Any]:
    """From /proc where there is one, else what the platform module knows; `memory_bytes` is 0 where nobody tells.

    `cpus` are those that this process may use.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    try:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory_bytes = 0
    processor, features = parse_cpuinfo(text)
    return {
        "processor": processor or platform.processor() or platform.machine(),
        "cpus": len(usable_cpus()),
        "features": features,
        "memory_bytes": memory_bytes,
        "system": f"{platform.system()}, {platform.machine()}",
        "python": platform.python_version(),
    }


def device_text(info: DeviceInfo) -> str:
    """Device, platform and driver."""
    return f"{info.name}, {info.platform_name}, driver {info.driver_version}"


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """(model name, features that bear on float32 arithmetic) of the first processor in /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts.setdefault(name.strip(), value.strip())
    words = facts.get("flags", facts.get("Features", "")).split()
    return facts.get("model name", ""), tuple(word for word in words if word.startswith(_FEATURES))


def usable_cpus() -> list[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of the named distributions that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def today() -> str:
    """The date in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
