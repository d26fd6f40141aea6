"""What a report says of the machine and the software on it: enough to judge a figure, nothing that names its owner."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clprune.device import DeviceInfo
from clprune.machine import memory_bytes

#: Parts of a processor's feature names that bear on the speed of float32 arithmetic.
_FEATURES = ("sse4_2", "fma", "f16c", "avx", "amx", "asimd", "sve", "neon")

#: What makes a class of processors whose figures are kept apart, the widest first, and its name.
_CLASSES = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON", "neon": "NEON"}

#: AMD's fourth Zen has AVX-512's instructions with units of 256 bits, two passes each. It says so in no feature: it has
#: the first of these, and lacks the second, which are AMD's later and Intel's.
_TWO_PASSES = ({"avx512_bf16", "avx512_vbmi2"}, {"avx512_vp2intersect", "avx512_fp16"})


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
    memory = memory_bytes()
    processor, features = parse_cpuinfo(text)
    return {
        "processor": processor or platform.processor() or platform.machine(),
        "cpus": len(usable_cpus()),
        "features": features,
        "memory_bytes": 0 if memory == sys.maxsize else memory,
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


def cpu_class(features: Iterable[str]) -> str:
    """The widest vectors that a processor has, by `features` as `parse_cpuinfo` gives them; empty where unknown."""
    return next((name for feature, name in _CLASSES.items() if feature in set(features)), "")


def cpu_title(features: Iterable[str]) -> str:
    """The class, and how it comes by it: what the titles of sections say, of which a later run replaces its own."""
    has, lacks = _TWO_PASSES
    is_halved = has <= set(features) and lacks.isdisjoint(features)
    return f"{cpu_class(features)} in two passes" if is_halved else cpu_class(features)


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
