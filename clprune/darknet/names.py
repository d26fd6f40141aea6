"""Darknet's names files: one class name per line."""

from __future__ import annotations

from pathlib import Path

from clprune.errors import DataError

#: No names file is this large.
MAX_BYTES = 1 << 24


def read_names(path: str | Path) -> tuple[str, ...]:
    """Class names, one per line, by class index; empty lines at the end are dropped. Raises DataError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error
    if len(data) > MAX_BYTES or b"\0" in data:
        raise DataError("is not a text file", path=path)
    names = [line.strip() for line in data.decode("utf-8-sig", "replace").split("\n")]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError("holds no names: expected one class name per line", path=path)
    return tuple(names)
