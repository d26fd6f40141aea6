"""Built kernels on disk, so that the second run of a program need not compile. Losing a file here is harmless.

Entries are named by a hash of device identity, source and options, written whole or not at all, and carry a checksum.
What another user could have written is not used.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import warnings
from contextlib import suppress
from pathlib import Path

from clprune.device import DeviceInfo, device_key
from clprune.errors import FileError
from clprune.files import write_atomically
from clprune.folders import cache_folder, stranger_at

_MOST_ENTRIES = 1000
_DIGEST_BYTES = 32


def entry_path(device: DeviceInfo, source: str, options: tuple[str, ...]) -> Path:
    """Return where the binary of this program for this device is kept."""
    host = _host_cpu() if device.type == "cpu" else ""
    identity = repr((device_key(device), host, source, options)).encode()
    return cache_folder() / "kernels" / f"{hashlib.sha256(identity).hexdigest()}.bin"


def load(path: Path) -> bytes | None:
    """Return the binary kept at `path`, or None when there is none, it is damaged or could be somebody else's."""
    try:
        if _is_anyones(path):
            return None
        content = path.read_bytes()
    except OSError:
        return None
    digest, binary = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(binary).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(path)  # used lately: the last to be thrown away
    return binary


def store(path: Path, binary: bytes) -> None:
    """Keep `binary` at `path`; silently does nothing where the folder cannot be written."""
    with suppress(OSError, FileError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_anyones(path.parent):
            return
        write_atomically(path, hashlib.sha256(binary).digest() + binary)
        path.chmod(0o600)  # an earlier one, which others could have written, would keep its mode
        _drop_oldest(path.parent)


def store_part(path: Path, *, whole: Path, suffix: str) -> None:
    """Note that the program of `path` is the part `suffix` of the one kept at `whole`."""
    store(_part_path(path), f"{whole.name} {suffix}".encode())


def load_part(path: Path) -> tuple[Path, str] | None:
    """Where the program is kept that has the one of `path` among its parts, and that part's suffix, or None."""
    note = load(_part_path(path))
    if note is None:
        return None
    name, _, suffix = note.decode().partition(" ")
    return path.with_name(name), suffix


def _part_path(path: Path) -> Path:
    return path.with_suffix(".part")


def _is_anyones(path: Path) -> bool:
    """Whether another user could have written `path`, a folder of the cache or an entry; said once for all entries."""
    folder = path if path.is_dir() else path.parent
    reason = stranger_at(cache_folder(), folder)
    if reason:
        warnings.warn(f"built kernels are neither used nor kept: {reason}", stacklevel=1)
    elif stranger_at(path):
        reason = f"{folder}: built kernels that other users may write are built anew"
        warnings.warn(reason, stacklevel=1)
    return bool(reason)


@functools.cache
def _host_cpu() -> str:
    """Name the host's instruction set, as far as the system tells: CPU drivers compile for it, but some name every
    processor of a maker alike, and a home folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _drop_oldest(folder: Path) -> None:
    """Remove the less recently used half once there are too many entries."""
    entries = [*folder.glob("*.bin"), *folder.glob("*.part")]
    if len(entries) <= _MOST_ENTRIES:
        return
    ages = sorted((entry.stat().st_mtime, entry) for entry in entries)
    for _, entry in ages[: len(ages) // 2]:
        entry.unlink(missing_ok=True)
